// Package systemd_test tries the installer of the unit, in a directory that stands for the root of a host.
package systemd_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestInstall(t *testing.T) {
	for _, needed := range []string{"make", "sh", "install"} {
		if _, err := exec.LookPath(needed); err != nil {
			t.Skipf("SKIPPED: the installer of the systemd unit: there is no %s here", needed)
		}
	}
	if output, err := exec.Command("make", "-C", "../..", "build").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	root := t.TempDir()
	install := func(settings ...string) (string, error) {
		command := exec.Command("./install", settings...)
		command.Env = append(os.Environ(), "DESTDIR="+root)
		output, err := command.CombinedOutput()
		return string(output), err
	}
	read := func(name string) string {
		text, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Error(err)
		}
		return string(text)
	}
	for _, wrong := range []struct{ setting, want string }{
		{"--public-address=198.51.100.7", "is no setting"},
		{"HAIRPIN_PUBLIC_ADRESS=198.51.100.7", "HAIRPIN_PUBLIC_ADRESS is not known"},
		{"HAIRPIN_PUBLIC_ADDRESS=here", `"here"`},
	} {
		output, err := install(wrong.setting)
		if left, _ := os.ReadDir(root); err == nil || !strings.Contains(output, wrong.want) || len(left) != 0 {
			t.Errorf("%s: %v, %s, left %v", wrong.setting, err, output, left)
		}
	}

	if output, err := install("HAIRPIN_PUBLIC_ADDRESS=198.51.100.7"); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	secret := read("etc/hairpin/secrets")
	if info, err := os.Stat(filepath.Join(root, "etc/hairpin/secrets")); err != nil || info.Mode().Perm() != 0o600 || len(secret) < 40 {
		t.Errorf("%v, %v", info, err)
	}
	check := exec.Command(filepath.Join(root, "usr/local/bin/hairpin"), "config", "check", filepath.Join(root, "etc/hairpin/hairpin.yaml"))
	if output, err := check.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, output)
	}
	if unit := read("etc/systemd/system/hairpin.service"); !strings.Contains(unit, "\nExecStart=/usr/local/bin/hairpin serve") {
		t.Error(unit)
	}
	if output, err := install(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	if read("etc/hairpin/secrets") != secret || read("etc/hairpin/hairpin.env") != "HAIRPIN_PUBLIC_ADDRESS=198.51.100.7\n" {
		t.Error("a second installation changed secret or settings")
	}
}
