package auth

import (
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"
)

// Adopt changes who is let in, at once and with files, and a nonce from before is still good.
func TestAdopt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		before, after := filepath.Join(dir, "before"), filepath.Join(dir, "after")
		write(t, before, "bob:one\n")
		write(t, after, "bob:two\n")
		r := run(t, Options{Users: []User{alice()}, UsersFile: before})
		r.verify("bob", "one", nil)

		next := newTest(t, Options{UsersFile: after, Secrets: []string{"s"}, EnforceExpiry: true})
		if err := r.Adoptable(next); err != nil {
			t.Fatal(err)
		}
		r.Adopt(next)
		r.verify("bob", "two", nil)
		r.verify("bob", "one", ErrWrongPassword)
		r.verify(alice().Name, alice().Password, ErrUnknownUser)
		if !r.EnforceExpiry() {
			t.Error("EnforceExpiry did not change")
		}

		// From here on that file is looked at, and the other one is not.
		write(t, before, "eve:one\n")
		write(t, after, "carol:three\n")
		r.tick()
		r.verify("carol", "three", nil)
		r.verify("bob", "two", ErrUnknownUser)
		r.verify("eve", "one", ErrUnknownUser)
		if err := os.Remove(after); err != nil {
			t.Fatal(err)
		}
		r.tick()
		r.verify("carol", "three", nil)
	})
}

// What clients hold keys and nonces of can't change.
func TestNotAdoptable(t *testing.T) {
	base := Options{Realm: "r", Users: []User{alice()}, NonceSecret: "n"}
	a := newTest(t, base)
	for name, change := range map[string]func(*Options){
		"realm":          func(o *Options) { o.Realm = "other" },
		"server name":    func(o *Options) { o.ServerName = "other" },
		"algorithms":     func(o *Options) { o.Algorithms = []Algorithm{MD5} },
		"nonce secret":   func(o *Options) { o.NonceSecret = "other" },
		"nonce lifetime": func(o *Options) { o.NonceLifetime = time.Minute },
		"":               func(o *Options) { o.Users, o.Secrets = nil, []string{"s"} },
	} {
		o := base
		change(&o)
		want := ErrFixed
		if name == "" {
			want = nil
		}
		if err := a.Adoptable(newTest(t, o)); err != want {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
	}
}
