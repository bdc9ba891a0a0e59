package load

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// process is another process of this machine that is observed from outside.
type process struct {
	pid   int
	cores []int // that it may run on
}

func openProcess(pid int) (*process, error) {
	p := &process{pid: pid}
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(pid, &set); err != nil {
		return nil, fmt.Errorf("process %d: %w", pid, err)
	}
	for cpu := 0; len(p.cores) < set.Count(); cpu++ {
		if set.IsSet(cpu) {
			p.cores = append(p.cores, cpu)
		}
	}
	if _, err := p.usage(); err != nil {
		return nil, err
	}
	return p, nil
}

// usage reads the process's clocks. They count what the scheduler gave its threads, to the nanosecond, and on loopback
// that includes the kernel's work for the packets that it sends, up to their receiver's socket.
func (p *process) usage() (u usage, err error) {
	// The process's own clock knows threads that have ended, too. Those of threads can be read in the files only.
	if u.cpu, err = processClock(p.pid); err != nil {
		return u, fmt.Errorf("process %d: %w", p.pid, err)
	}
	u.threads = map[int]threadUsage{}
	tids, _ := processThreads(p.pid)
	for _, tid := range tids {
		u.threads[tid] = schedule(fmt.Sprintf("/proc/%d/task/%d", p.pid, tid))
	}
	for _, pid := range softirqThreads(p.cores) {
		if ns, err := processClock(pid); err == nil {
			u.softirq += ns
		}
	}
	u.drops, u.queues = p.drops()
	return u, nil
}

// processThreads are the ids of a process's threads.
func processThreads(pid int) (tids []int, err error) {
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	for _, e := range entries {
		tids = append(tids, atoi(e.Name()))
	}
	return tids, err
}

// schedule reads what a thread has used of the processor, and how long it could have run and did not because the
// processor was somebody else's. It is nothing where the thread has ended.
func schedule(task string) (u threadUsage) {
	text, err := os.ReadFile(task + "/schedstat") // ns running, ns waiting, turns
	if fields := strings.Fields(string(text)); err == nil && len(fields) == 3 {
		u.cpu, _ = strconv.ParseInt(fields[0], 10, 64)
		u.waited, _ = strconv.ParseInt(fields[1], 10, 64)
	}
	return u
}

// processClock reads the processor time of a process in nanoseconds, as clock_getcpuclockid(3) lets it be read.
func processClock(pid int) (int64, error) {
	const scheduled = 2 // CPUCLOCK_SCHED: what the scheduler gave, as opposed to what ticks have found
	var t unix.Timespec
	err := unix.ClockGettime(int32(^pid)<<3|scheduled, &t)
	if err == unix.EINVAL {
		err = unix.ESRCH
	}
	return t.Nano(), err
}

// softirqThreads finds the threads that take over from processes when the kernel has much to do on a core.
func softirqThreads(cores []int) (tids []int) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	wanted := map[string]bool{}
	for _, core := range cores {
		wanted["ksoftirqd/"+strconv.Itoa(core)] = true
	}
	for _, e := range entries {
		if pid := atoi(e.Name()); pid > 0 && pid < 4096 { // they are among the first of the machine
			comm, err := os.ReadFile("/proc/" + e.Name() + "/comm")
			if err == nil && wanted[strings.TrimSpace(string(comm))] {
				tids = append(tids, pid)
			}
		}
	}
	return tids
}

// memory is the process's resident memory in bytes. The sum over its mappings is exact; the counter beside it may lag
// behind by some pages for each thread.
func (p *process) memory() (uint64, error) {
	dir := "/proc/" + strconv.Itoa(p.pid)
	for _, source := range [][2]string{{"/smaps_rollup", "Rss:"}, {"/status", "VmRSS:"}} {
		text, err := os.ReadFile(dir + source[0])
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				return 0, fmt.Errorf("process %d: %w", p.pid, unix.ESRCH)
			}
			continue // not ours to read
		}
		for line := range strings.Lines(string(text)) {
			if fields := strings.Fields(line); len(fields) == 3 && fields[0] == source[1] {
				if kib, err := strconv.ParseUint(fields[1], 10, 64); err == nil {
					return kib << 10, nil
				}
			}
		}
	}
	return 0, fmt.Errorf("process %d does not tell its memory", p.pid)
}

// drops sums up what the kernel threw away because the process's UDP sockets were full. ok is false when it can't be
// known, mostly because the process is another user's.
func (p *process) drops() (sum uint64, ok bool) {
	dir := "/proc/" + strconv.Itoa(p.pid)
	fds, err := os.ReadDir(dir + "/fd")
	if err != nil {
		return 0, false
	}
	inodes := map[string]bool{}
	for _, fd := range fds {
		if target, err := os.Readlink(dir + "/fd/" + fd.Name()); err == nil {
			if inode, found := strings.CutPrefix(target, "socket:["); found {
				inodes[strings.TrimSuffix(inode, "]")] = true
			}
		}
	}
	for _, table := range []string{"/net/udp", "/net/udp6"} {
		text, err := os.ReadFile(dir + table)
		if err != nil {
			continue
		}
		lines := bufio.NewScanner(bytes.NewReader(text))
		for lines.Scan() {
			// sl local rem st queues tr tm->when retrnsmt uid timeout inode ref pointer drops
			if fields := strings.Fields(lines.Text()); len(fields) >= 13 && inodes[fields[9]] {
				n, _ := strconv.ParseUint(fields[12], 10, 64)
				sum, ok = sum+n, true
			}
		}
	}
	return sum, ok
}

// ownUsage is what this process has used of the processor, and how long the calling thread had to wait for it.
func ownUsage() threadUsage {
	ns, _ := processClock(os.Getpid())
	return threadUsage{ns, schedule("/proc/thread-self").waited}
}

// atoi is a number, 0 for what is none.
func atoi(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		return 0
	}
	return n
}
