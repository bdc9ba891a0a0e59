package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"time"

	"github.com/hairpin-turn/hairpin/relay/udp"
)

// startEcho runs a peer for the servers beside the generator, on processor 1, until stop is called.
func startEcho(ctx context.Context, port int) (stop func(), err error) {
	own, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, "taskset", "-c", "1", own, "echo", strconv.Itoa(port))
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	stop = func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	if err := echoAnswers(ctx, port); err != nil {
		stop()
		return nil, err
	}
	return stop, nil
}

// echoAnswers waits until the echo server does.
func echoAnswers(ctx context.Context, port int) error {
	conn, err := net.Dial("udp4", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return err
	}
	defer conn.Close()
	answer := make([]byte, 1)
	for range 100 {
		_, _ = conn.Write(answer) // refused until somebody listens
		_ = conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		if _, err := conn.Read(answer); err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
	return errors.New("the echo server does not answer")
}

// serveEcho sends every datagram back to where it came from, one by one as it came: a server sees what a real peer's
// network card delivers.
func serveEcho(ctx context.Context, text string) error {
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return fmt.Errorf("%q is no port", text)
	}
	conn, err := udp.Listen(netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(port)),
		udp.Options{ReceiveBuffer: 4 << 20, SendBuffer: 4 << 20})
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	const messages = 64
	batch, queue := udp.NewBatch(messages, 1<<16), udp.NewQueue(messages)
	for {
		if err := conn.Receive(batch); err != nil {
			return nil
		}
		for i := range batch.Len() {
			d := batch.Datagram(i)
			to := udp.NewDestination(d.Source, netip.Addr{}, 0)
			queue.Append(&to, nil, d.Bytes, 0)
		}
		_, _ = conn.Flush(queue) // what is lost is reported by the generator
	}
}
