package auth

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func write(t testing.TB, path, content string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestUsersFile(t *testing.T) {
	const ha1 = "0123456789abcdef0123456789abcdef"
	taken := map[string]account{"root": {}}
	for _, c := range []struct {
		name    string
		content string
		want    []string // name=password, sorted
		faults  []string
	}{
		{"plain", "alice:a\nbob:b\n", []string{"alice=a", "bob=b"}, nil},
		{"no newline at the end", "alice:a\nbob:b", []string{"alice=a", "bob=b"}, nil},
		{"CRLF", "alice:a\r\n\r\nbob:b\r\n", []string{"alice=a", "bob=b"}, nil},
		{"comments and blanks", "# users\n\n   \n  # more\nalice:#a # b\n", []string{"alice=#a # b"}, nil},
		{"byte order mark", "\ufeffalice:a\n", []string{"alice=a"}, nil},
		{"key", "alice:0x" + ha1 + "\n", []string{"alice="}, nil},
		{"empty", "", nil, nil},

		{"line number", "# x\n\nalice:a\nhush\n", nil, []string{"F, line 4: there is no ':'"}},
		{"several", "hush\nalice:\nbob:0xhush\n", nil, []string{"F, line 1: ", "F, line 2: ", "F, line 3: "}},
		{"twice", "alice:a\nbob:b\nalice:hush\n", nil, []string{`F, line 3: user "alice" is in line 1 already`}},
		{"twice in other spelling", "zoe\u0308:a\nzo\u00eb:hush\n", nil, []string{`F, line 2: user "zo` + "\u00eb" + `" is in line 1 already`}},
		{"given elsewhere", "root:hush\n", nil, []string{`F, line 1: user "root" is given outside the file`}},
		{"a lone CR is no line end", "alice:a\rbob:hush\n", nil, []string{"F, line 1: user \"alice\": the password contains"}},
		{"many", strings.Repeat("hush\n", 100), nil, []string{"line 20:", "F: 80 more faulty lines"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			accounts, err := parseUsers("F", []byte(c.content), testRealm, taken)
			var got []string
			for name, acc := range accounts {
				got = append(got, name+"="+acc.password)
			}
			slices.Sort(got)
			if !slices.Equal(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
			checkFaults(t, err, c.faults)
		})
	}
}

func TestSecretsFile(t *testing.T) {
	for _, c := range []struct {
		name    string
		content string
		want    []string
		faults  []string
	}{
		{"order is kept", "new\nold\n", []string{"new", "old"}, nil},
		{"CRLF, comments, blanks", "# rotated in May\r\n\r\nne#w\r\nold: x\r\n", []string{"ne#w", "old: x"}, nil},
		{"empty", "\n", nil, nil},
		{"twice", "new\nold\nnew\n", nil, []string{"F, line 3: the secret is in line 1 already"}},
		{"given elsewhere", "taken\n", nil, []string{"F, line 1: the secret is given outside the file"}},
		{"blank at the end", "ok\nhush \n", nil, []string{"F, line 2: the secret begins or ends with white space"}},
		{"control character", "hu\x00sh\n", nil, []string{"F, line 1: the secret contains a control character"}},
		{"not UTF-8", "hush\xff\n", nil, []string{"F, line 1: the secret is not UTF-8"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			secrets, err := parseSecrets("F", []byte(c.content), [][]byte{[]byte("taken")})
			var got []string
			for _, s := range secrets {
				got = append(got, string(s))
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
			checkFaults(t, err, c.faults)
		})
	}
}

func checkFaults(t *testing.T, err error, want []string) {
	t.Helper()
	if (err != nil) != (want != nil) {
		t.Fatalf("error %v, want %q", err, want)
	}
	for _, w := range want {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("error does not say %q:\n%v", w, err)
		}
	}
	if err != nil && strings.Contains(err.Error(), "hush") {
		t.Errorf("error quotes the file:\n%v", err)
	}
}

func TestNewReadsFiles(t *testing.T) {
	dir := t.TempDir()
	users := write(t, filepath.Join(dir, "users"), "bob:builder\n")
	secrets := write(t, filepath.Join(dir, "secrets"), "second\n")
	a := newTest(t, Options{Users: []User{alice()}, UsersFile: users, Secrets: []string{"first"}, SecretsFile: secrets})
	for _, c := range []struct{ name, password string }{
		{"alice", "wonder:land"},
		{"bob", "builder"},
		{"1:x", ephemeralPassword([]byte("first"), "1:x")},
		{"1:x", ephemeralPassword([]byte("second"), "1:x")},
	} {
		if _, err := a.Verify(claim(c.name), knows(c.name, c.password)); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	username, password, err := a.Issue("x", 1e9)
	if err != nil || password != ephemeralPassword([]byte("first"), username) {
		t.Errorf("the first secret of the options must sign: %v", err)
	}
}

func TestNewRefusesFiles(t *testing.T) {
	dir := t.TempDir()
	huge := write(t, filepath.Join(dir, "huge"), "")
	if err := os.Truncate(huge, maxFile+1); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, path string
		line       int
		want       string
	}{
		{"fault", write(t, filepath.Join(dir, "fault"), "alice:a\nhush\n"), 2, "fault, line 2: there is no ':'"},
		{"missing", filepath.Join(dir, "missing"), 0, "missing: no such file"},
		{"directory", dir, 0, "not a regular file"},
		{"huge", huge, 0, "more than 16 MiB"},
	} {
		_, err := New(Options{Realm: "r", UsersFile: c.path})
		fault, ok := errors.AsType[*FileError](err)
		if !ok || fault.File != c.path || fault.Line != c.line || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
	empty := write(t, filepath.Join(dir, "empty"), "# nobody\n")
	if _, err := New(Options{Realm: "r", UsersFile: empty, SecretsFile: empty}); !errors.Is(err, ErrNoCredentials) {
		t.Errorf("empty files: %v, want ErrNoCredentials", err)
	}
}

func TestManyUsers(t *testing.T) {
	var b strings.Builder
	for i := range 20000 {
		fmt.Fprintf(&b, "user%d:password%d\n", i, i)
	}
	a := newTest(t, Options{UsersFile: write(t, filepath.Join(t.TempDir(), "users"), b.String())})
	if _, err := a.Verify(claim("user19999"), knows("user19999", "password19999")); err != nil {
		t.Error(err)
	}
}

// TestREADME reads the examples of README.md as the files that they show.
func TestREADME(t *testing.T) {
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	block := func(kind string) string {
		_, rest, _ := strings.Cut(string(text), "```"+kind+"\n")
		content, _, found := strings.Cut(rest, "```")
		if !found {
			t.Fatalf("README.md has no example of a %s file", kind)
		}
		return content
	}
	dir := t.TempDir()
	a := newTest(t, Options{
		Realm:       "hairpin",
		UsersFile:   write(t, filepath.Join(dir, "users"), block("users")),
		SecretsFile: write(t, filepath.Join(dir, "secrets"), block("secrets")),
	})
	for _, c := range []struct{ name, password string }{
		{"alice", "correct horse battery staple"},
		{"bob", "a:password:with:colons"},
		{"carol", "0xCAFE"},
		{"1767225600:alice", ephemeralPassword([]byte("correct horse battery staple"), "1767225600:alice")},
	} {
		want := longTermKey(c.name, "hairpin", c.password)
		if _, err := a.Verify(claim(c.name), func(k []byte) bool { return bytes.Equal(k, want[:]) }); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	if password := ephemeralPassword([]byte("correct horse battery staple"), "1767225600:alice"); !strings.Contains(string(text), "# "+password) {
		t.Errorf("README.md does not show the password %s", password)
	}
}
