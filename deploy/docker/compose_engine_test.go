package docker_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A project is a set-up that runs, by its environment.
type project struct {
	*engine
	up          string // the script
	name        string
	environment []string
}

// composeSetUps runs each Compose file as README.md says, with the plugin or with docker-compose.
func (e *engine) composeSetUps(t *testing.T) {
	if _, err := e.try("docker", "compose", "version"); err != nil {
		if _, err := exec.LookPath("docker-compose"); err != nil {
			t.Skip("SKIPPED: Compose files in an engine: there is neither docker compose nor docker-compose here (Debian: apt-get install docker-compose, as root)")
		}
	}
	// A copy, because the secret lies beside the files.
	dir := filepath.Join(t.TempDir(), "deploy", "docker")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range append(composeFiles(t), "compose.base.yaml", "up") {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	with := func(name string, environment ...string) project {
		own := []string{"COMPOSE_PROJECT_NAME=test", "HAIRPIN_IMAGE=" + image, "ONE2ONE_IMAGE=" + image + "-one2one"}
		return project{e, filepath.Join(dir, "up"), name, append(own, environment...)}
	}
	up := func(t *testing.T, p project) {
		t.Helper()
		t.Cleanup(func() { p.compose(t, "down", "--timeout", "5") })
		p.compose(t)
	}
	called := func(t *testing.T, c credentials, host, port string) {
		t.Helper()
		until(t, "a packet is relayed", func() error { return e.probe(t, c, "turn:"+host+":"+port, 1) })
		for _, transport := range []string{"udp", "tcp"} {
			if err := e.probe(t, c, "turn:"+host+":"+port+"?transport="+transport, 20); err != nil {
				t.Error(err)
			}
		}
	}
	secret := filepath.Join(dir, "secrets", "hairpin")
	made := func(t *testing.T) credentials {
		t.Helper()
		text, err := os.ReadFile(secret)
		if err != nil {
			t.Fatal(err)
		}
		return credentials{user: "alice", secret: strings.TrimSpace(string(text))}
	}

	t.Run("wrong", func(t *testing.T) {
		for name, want := range map[string]string{"bridge": "HAIRPIN_PUBLIC_ADDRESS", "macvlan": "HAIRPIN_", "base": "name a set-up", "": "name a set-up"} {
			if err := with(name).try("config"); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%q: %v", name, err)
			}
		}
	})
	t.Run("config", func(t *testing.T) {
		var all []string
		for name, value := range composeEnvironment {
			all = append(all, name+"="+value)
		}
		for _, file := range composeFiles(t) {
			with(strings.Split(file, ".")[1], all...).compose(t, "config", "--quiet")
		}
	})
	t.Run("bridge", func(t *testing.T) {
		up(t, with("bridge", "HAIRPIN_PUBLIC_ADDRESS="+hostAddress, "HAIRPIN_PORT=5000"))
		first, second := made(t), credentials{user: "alice", secret: "the-second-secret"}
		called(t, first, hostAddress, "5000")
		if err := os.WriteFile(secret, []byte(second.secret+"\n"), 0o444); err != nil { // in place, as the file itself is mounted
			t.Fatal(err)
		}
		called(t, second, hostAddress, "5000")
		if err := e.probe(t, first, "turn:"+hostAddress+":5000", 1); err == nil {
			t.Error("the old secret is still good")
		}
	})
	t.Run("host", func(t *testing.T) {
		up(t, with("host", "HAIRPIN_PORT=5001"))
		called(t, made(t), hostAddress, "5001")
	})
	t.Run("macvlan", func(t *testing.T) {
		up(t, with("macvlan", "HAIRPIN_PARENT=eth0", "HAIRPIN_SUBNET=198.51.100.0/24", "HAIRPIN_GATEWAY="+outsideAddress, "HAIRPIN_ADDRESS=198.51.100.70"))
		called(t, made(t), "198.51.100.70", "3478")
	})
	t.Run("one2one", func(t *testing.T) {
		up(t, with("one2one", "HAIRPIN_PUBLIC_ADDRESS="+hostAddress))
		called(t, made(t), hostAddress, "3478")
		e.browse(t)
	})
}

// try runs the script; without words it starts the set-up.
func (p project) try(args ...string) error {
	line := append([]string{}, p.environment...)
	_, err := p.engine.try("env", append(append(line, p.up, p.name), args...)...)
	return err
}

func (p project) compose(t *testing.T, args ...string) {
	t.Helper()
	if err := p.try(args...); err != nil {
		t.Fatal(err)
	}
}
