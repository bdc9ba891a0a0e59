// Package docker_test holds the images and the Compose files against what README.md beside it says of them: on paper
// everywhere, and in a Docker engine of its own where one can be started (engine_test.go).
package docker_test

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// largest is what an image may have, in bytes.
const largest = 15_000_000

const image = "hairpin-test"

// locked are the flags of a container that may do nothing but relay.
var locked = []string{"--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"}

// relay starts a container, and lets it go with the test.
func (e *engine) relay(t *testing.T, name string, flags ...string) {
	t.Helper()
	t.Cleanup(func() { e.remove(t, name) })
	args := append([]string{"run", "--detach", "--name", name, "--env", "HAIRPIN_USER=" + alice.user + ":" + alice.password}, locked...)
	e.docker(t, append(append(args, flags...), image)...)
}

func publish(port string) []string {
	return []string{"--publish", port + ":3478/udp", "--publish", port + ":3478/tcp", "--env", "HAIRPIN_PUBLIC_ADDRESS=" + hostAddress}
}

func TestEngine(t *testing.T) {
	e := startEngine(t)
	if _, err := e.try("make", "-C", "../..", "--no-print-directory", "image-prebuilt", "IMAGE="+image, "VERSION=v0-test"); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name string
		run  func(*engine, *testing.T)
	}{
		{"image", (*engine).imageIsSmallAndClosed},
		{"platform", (*engine).otherPlatform},
		{"bridge", (*engine).bridge},
		{"beside", (*engine).besideOneAnother},
		{"host", (*engine).hostNetwork},
		{"macvlan", func(e *engine, t *testing.T) { e.ownAddress(t, "macvlan") }},
		{"ipvlan", func(e *engine, t *testing.T) { e.ownAddress(t, "ipvlan") }},
		{"siblings", (*engine).siblings},
		{"start", (*engine).timeToFirstPacket},
		{"compose", (*engine).composeSetUps},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(e, t) })
	}
}

// The image holds one file, names no root and no shell, and says what it is.
func (e *engine) imageIsSmallAndClosed(t *testing.T) {
	for _, row := range []struct {
		image, program string
		ports          []string
		health         []string
	}{
		{image, "hairpin", []string{"3478/tcp", "3478/udp"}, []string{"CMD", "/hairpin", "status", "--health"}},
		{image + "-one2one", "one2one", []string{"8443/tcp"}, nil},
	} {
		var seen []struct {
			Size   int64
			Config struct {
				User         string
				Labels       map[string]string
				Entrypoint   []string
				ExposedPorts map[string]struct{}
				Healthcheck  struct{ Test []string }
			}
		}
		if err := json.Unmarshal([]byte(e.docker(t, "image", "inspect", row.image)), &seen); err != nil {
			t.Fatal(err)
		}
		is := seen[0]
		t.Logf("%s has %d bytes", row.image, is.Size)
		if is.Size > largest || is.Size < 1_000_000 {
			t.Errorf("%s has %d bytes, at most %d", row.image, is.Size, largest)
		}
		uid, gid, _ := strings.Cut(is.Config.User, ":")
		for _, id := range []string{uid, gid} {
			if n, err := strconv.Atoi(id); err != nil || n < 1000 {
				t.Errorf("%s runs as %q", row.image, is.Config.User)
			}
		}
		for _, label := range []string{"title", "description", "source", "documentation", "licenses", "version", "revision"} {
			if is.Config.Labels["org.opencontainers.image."+label] == "" {
				t.Errorf("%s has no label %s", row.image, label)
			}
		}
		if got := is.Config.Labels["org.opencontainers.image.version"]; got != "v0-test" {
			t.Errorf("%s is labelled %q", row.image, got)
		}
		var ports []string
		for port := range is.Config.ExposedPorts {
			ports = append(ports, port)
		}
		if slices.Sort(ports); !slices.Equal(ports, row.ports) || !slices.Equal(is.Config.Healthcheck.Test, row.health) || !slices.Equal(is.Config.Entrypoint, []string{"/" + row.program}) {
			t.Errorf("%s: %+v", row.image, is.Config)
		}
		if files := e.files(t, row.image); !slices.Equal(files, []string{row.program}) {
			t.Errorf("%s holds %q", row.image, files)
		}
		if said, err := e.try("docker", append(append([]string{"run", "--rm"}, locked...), row.image, "--help")...); err != nil || !strings.Contains(said, row.program) {
			t.Errorf("%v: %s", err, said)
		}
		if _, err := e.try("docker", "run", "--rm", "--entrypoint", "/bin/sh", row.image); err == nil {
			t.Errorf("%s has a shell", row.image)
		}
	}
}

// files are those of an image, without what an engine adds to every container.
func (e *engine) files(t *testing.T, image string) (files []string) {
	t.Helper()
	id := e.docker(t, "create", image)
	defer e.remove(t, id)
	archive := filepath.Join(t.TempDir(), "archive")
	e.docker(t, "export", "--output", archive, id)
	file, err := os.Open(archive)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for reader := tar.NewReader(file); ; {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		first, _, _ := strings.Cut(header.Name, "/")
		if !slices.Contains([]string{".dockerenv", "dev", "etc", "proc", "sys"}, first) {
			files = append(files, header.Name)
		}
	}
}

// An image for another processor is labelled so. What it holds cannot run here.
func (e *engine) otherPlatform(t *testing.T) {
	other := "arm64"
	if runtime.GOARCH == other {
		other = "amd64"
	}
	output, err := e.try("env", "DOCKER_BUILDKIT=1", "make", "-C", "../..", "--no-print-directory", "image-prebuilt", "IMAGE=other", "GOARCH="+other)
	if err != nil && strings.Contains(err.Error(), "buildx component is missing") {
		t.Skip("SKIPPED: an image for another processor: this client has no BuildKit (buildx)")
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	if got := e.docker(t, "image", "inspect", "--format", "{{.Architecture}}", "other"); got != other {
		t.Errorf("the image is for %s", got)
	}
}

// One container on the bridge: calls from outside, health, logs without secrets, and an end in time with exit code 0.
func (e *engine) bridge(t *testing.T) {
	e.relay(t, "bridge", publish("3478")...)
	e.call(t, hostAddress, "3478")
	e.docker(t, "exec", "bridge", "/hairpin", "status", "--health")
	until(t, "the engine calls it healthy", func() error {
		if health := e.docker(t, "inspect", "--format", "{{.State.Health.Status}}", "bridge"); health != "healthy" {
			return errors.New(health)
		}
		return nil
	})
	if said, err := exec.Command("env", append(e.environment, "docker", "logs", "bridge")...).CombinedOutput(); err != nil || bytes.Contains(said, []byte(alice.password)) {
		t.Errorf("%v\n%s", err, said)
	}

	e.relay(t, "stopped") // no call keeps this one
	until(t, "it is alive", func() error {
		_, err := e.try("docker", "exec", "stopped", "/hairpin", "status", "--health")
		return err
	})
	e.docker(t, "stop", "--time", "30", "stopped")
	if code := e.docker(t, "inspect", "--format", "{{.State.ExitCode}}", "stopped"); code != "0" {
		t.Errorf("exit code %s", code)
	}
}

// Twenty relays on one bridge, each with a port of its own: what is relayed is published nowhere, so nothing clashes.
func (e *engine) besideOneAnother(t *testing.T) {
	var ports []string
	for i := range 20 {
		port := strconv.Itoa(4000 + i)
		ports = append(ports, port)
		e.relay(t, "beside-"+port, publish(port)...)
	}
	for _, port := range ports {
		until(t, "a packet is relayed", func() error { return e.probe(t, alice, "turn:"+hostAddress+":"+port, 1) })
		if err := e.probe(t, alice, "turn:"+hostAddress+":"+port, 20); err != nil {
			t.Error(err)
		}
	}
	e.uclientCalls(t, hostAddress, ports...)
}

// Three relays in the network of the host. A fourth that wants a port of theirs, or one that it must not have, says so.
func (e *engine) hostNetwork(t *testing.T) {
	ports := []string{"3478", "3479", "3480"}
	flags := func(port, admin string) []string {
		return []string{"--network", "host", "--env", "HAIRPIN_LISTEN=udp://:" + port + ",tcp://:" + port, "--env", "HAIRPIN_ADMIN=127.0.0.1:" + admin}
	}
	for i, port := range ports {
		e.relay(t, "host-"+port, flags(port, strconv.Itoa(9478+i))...)
	}
	for _, port := range ports {
		e.call(t, hostAddress, port)
		e.docker(t, "exec", "host-"+port, "/hairpin", "status", "--health")
	}
	for port, want := range map[string]string{"3479": "port 3479", "443": "not permitted to use port 443"} {
		_, err := e.try("docker", slices.Concat([]string{"run", "--rm", "--env", "HAIRPIN_USER=a:b"}, locked, flags(port, "9490"), []string{image})...)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("with port %s it says: %v", port, err)
		}
	}
}

// A container with an address of its own needs no address setting at all.
func (e *engine) ownAddress(t *testing.T, driver string) {
	network := "own-" + driver
	e.docker(t, "network", "create", "--driver", driver, "--opt", "parent=eth0", "--subnet", "198.51.100.0/24", "--gateway", outsideAddress, network)
	t.Cleanup(func() { e.docker(t, "network", "rm", network) })
	// The driver asks the kernel when the first container comes.
	if _, err := e.try("docker", "run", "--rm", "--network", network, "--ip", "198.51.100.60", image, "--help"); err != nil {
		if strings.Contains(err.Error(), "operation not supported") {
			t.Skipf("SKIPPED: a container with an address of its own by %s: this kernel has no %s", driver, driver)
		}
		t.Fatal(err)
	}
	for i, address := range []string{"198.51.100.61", "198.51.100.62"} {
		e.relay(t, fmt.Sprint(network, i), "--network", network, "--ip", address)
		e.call(t, address, "3478")
	}
}
