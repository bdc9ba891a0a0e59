package auth

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// running is an Authenticator whose Run is under way in a synctest bubble.
type running struct {
	*Authenticator
	t   *testing.T
	log logBuffer
}

func run(t *testing.T, o Options) *running {
	r := &running{t: t}
	o.Log = r.log.logger()
	r.Authenticator = newTest(t, o)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run returned %v", err)
		}
	})
	return r
}

// tick lets the next poll happen and hands out what was logged.
func (r *running) tick() string {
	time.Sleep(DefaultPollInterval)
	synctest.Wait()
	return r.log.take()
}

func (r *running) verify(name, password string, want error) {
	r.t.Helper()
	if _, err := r.Verify(claim(name), knows(name, password)); err != want {
		r.t.Errorf("%s with %q: %v, want %v", name, password, err, want)
	}
}

func TestRunFollowsTheFiles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		users, secrets := filepath.Join(dir, "users"), filepath.Join(dir, "secrets")
		write(t, users, "bob:one\n")
		write(t, secrets, "old\n")
		r := run(t, Options{Users: []User{alice()}, UsersFile: users, SecretsFile: secrets})
		ephemeral := func(secret string) string { return ephemeralPassword([]byte(secret), "1:x") }

		r.verify("bob", "one", nil)
		if log := r.tick(); log != "" {
			t.Errorf("nothing has changed, but: %s", log)
		}

		write(t, users, "bob:two\ncarol:three\n")
		if log := r.tick(); !strings.Contains(log, "3 users, 1 secrets") {
			t.Errorf("log %q", log)
		}
		r.verify("bob", "two", nil)
		r.verify("bob", "one", ErrWrongPassword)
		r.verify("carol", "three", nil)
		r.verify("alice", "wonder:land", nil)

		// Rotation: the new secret is put ahead of the old one, which is then removed.
		write(t, secrets, "new\nold\n")
		r.tick()
		r.verify("1:x", ephemeral("new"), nil)
		r.verify("1:x", ephemeral("old"), nil)
		write(t, secrets, "new\n")
		r.tick()
		r.verify("1:x", ephemeral("old"), ErrWrongPassword)
		r.verify("bob", "two", nil)

		// The file may become empty as long as somebody is left.
		write(t, users, "")
		r.tick()
		r.verify("bob", "two", ErrUnknownUser)
		r.verify("alice", "wonder:land", nil)
	})
}

func TestRunKeepsTheOldContentOfAFaultyFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		users := write(t, filepath.Join(t.TempDir(), "users"), "bob:one\n")
		r := run(t, Options{UsersFile: users})
		for _, c := range []struct {
			name   string
			change func()
			want   string
		}{
			{"fault", func() { write(t, users, "bob:two\nhush\n") }, "users, line 2: there is no ':'"},
			{"other fault", func() { write(t, users, "hush\nbob:two\n") }, "users, line 1: there is no ':'"},
			{"gone", func() { os.Remove(users) }, "users: no such file"},
			{"nobody left", func() { write(t, users, "# nobody\n") }, ErrNoCredentials.Error()},
		} {
			c.change()
			log := r.tick()
			if !strings.Contains(log, c.want) || !strings.Contains(log, "previous content stays valid") || strings.Contains(log, "hush") {
				t.Errorf("%s: log %q, want %q", c.name, log, c.want)
			}
			if log := r.tick(); log != "" {
				t.Errorf("%s: logged again: %s", c.name, log)
			}
			r.verify("bob", "one", nil)
		}
		write(t, users, "bob:two\n")
		r.tick()
		r.verify("bob", "two", nil)
		if log := r.tick(); log != "" {
			t.Errorf("logged again: %s", log)
		}
	})
}

// TestRunMovesFromUsersToSecrets: the users file is emptied first, which alone would leave nobody, then a secret comes.
func TestRunMovesFromUsersToSecrets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		users := write(t, filepath.Join(dir, "users"), "bob:one\n")
		secrets := write(t, filepath.Join(dir, "secrets"), "")
		r := run(t, Options{UsersFile: users, SecretsFile: secrets})
		write(t, users, "")
		r.tick()
		r.verify("bob", "one", nil)
		write(t, secrets, "s\n")
		r.tick()
		r.verify("bob", "one", ErrUnknownUser)
		r.verify("1:x", ephemeralPassword([]byte("s"), "1:x"), nil)
	})
}

// TestRunFollowsSymbolicLinks replaces a directory behind a link in the way of a Kubernetes volume.
func TestRunFollowsSymbolicLinks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		stamp := time.Unix(946684800-3600, 0) // the same in both, and old enough to be relied on
		publish := func(version, content string) {
			t.Helper()
			target := filepath.Join(dir, version)
			if err := os.Mkdir(target, 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.Chtimes(write(t, filepath.Join(target, "users"), content), stamp, stamp); err != nil {
				t.Fatal(err)
			}
			fresh := filepath.Join(dir, "..data_tmp")
			if err := os.Symlink(version, fresh); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(fresh, filepath.Join(dir, "..data")); err != nil {
				t.Fatal(err)
			}
		}
		publish("..1", "bob:one\n")
		users := filepath.Join(dir, "users")
		if err := os.Symlink(filepath.Join("..data", "users"), users); err != nil {
			t.Fatal(err)
		}
		r := run(t, Options{UsersFile: users})
		r.tick()
		publish("..2", "bob:two\n") // as long, and of the same time: only the inode differs
		if err := os.RemoveAll(filepath.Join(dir, "..1")); err != nil {
			t.Fatal(err)
		}
		r.tick()
		r.verify("bob", "two", nil)
	})
}

// TestRunSeesAWriteWithinOneTickOfTheFileSystem: same size, same inode, same modification time, other content.
func TestRunSeesAWriteWithinOneTickOfTheFileSystem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stamp := time.Now()
		put := func(path, content string) string {
			write(t, path, content)
			if err := os.Chtimes(path, stamp, stamp); err != nil {
				t.Fatal(err)
			}
			return path
		}
		users := put(filepath.Join(t.TempDir(), "users"), "bob:one\n")
		r := run(t, Options{UsersFile: users})
		put(users, "bob:two\n")
		r.tick()
		r.verify("bob", "two", nil)
	})
}

func TestRunDoesNotReadWhatHasNotChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		users := write(t, filepath.Join(t.TempDir(), "users"), "bob:one\n")
		old := time.Unix(946684800-3600, 0)
		if err := os.Chtimes(users, old, old); err != nil {
			t.Fatal(err)
		}
		r := run(t, Options{UsersFile: users})
		before := r.current.Load()
		for range 10 {
			r.tick()
		}
		if r.current.Load() != before || !r.files.usersFile.unchanged() {
			t.Error("the snapshot was replaced for nothing")
		}
	})
}

func TestRunWithoutFilesEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := run(t, Options{Users: []User{alice()}})
		if log := r.tick(); log != "" {
			t.Error(log)
		}
	})
}
