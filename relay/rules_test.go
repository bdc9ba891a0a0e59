// The rules of the repository, as tests. A rule reads the tree and names its faults; each one is also held against a
// small bad tree, because a rule that cannot fail protects nothing. How a tree is read is in rules_tree_test.go, how
// RFCs are cited in rules_citations_test.go.

package relay_test

import (
	"fmt"
	"go/ast"
	"go/token"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const modulePath = "github.com/hairpin-turn/hairpin"

// floors says which rooms of the module a room may import. Imports go downwards only; control and forward, side by
// side, meet in allocation. Commands and what is under deploy may import every room. Tests are free.
var floors = map[string][]string{
	"relay/rate":       {},
	"auth":             {"relay/rate"},
	"relay/wire":       {},
	"relay/udp":        {},
	"relay/peers":      {},
	"relay/quality":    {},
	"relay/events":     {"relay/quality", "relay/rate"},
	"relay/allocation": {"relay/quality", "relay/udp"},
	"relay/stream":     {"relay/wire"},
	"relay/forward":    {"relay/allocation", "relay/peers", "relay/quality", "relay/udp", "relay/wire"},
	"relay/tcp":        {"relay/allocation", "relay/stream", "relay/wire"},
	"relay/control":    {"auth", "relay/allocation", "relay/peers", "relay/rate", "relay/tcp", "relay/wire"},
	"relay":            {"auth", "relay/allocation", "relay/control", "relay/events", "relay/forward", "relay/peers", "relay/quality", "relay/secure", "relay/stream", "relay/tcp", "relay/udp", "relay/wire"},
	"metrics":          {"auth", "relay", "relay/allocation", "relay/control", "relay/events", "relay/forward", "relay/peers", "relay/quality", "relay/stream", "relay/tcp", "relay/udp", "relay/wire"},
	"relay/proxy":      {},
	"relay/secure":     {"relay/proxy", "relay/stream", "relay/udp", "relay/wire"},
}

// fields says in which rooms (and the rooms within them) a dependency may be imported outside tests; "" is the whole
// tree. A dependency that is not listed has no field yet.
var fields = map[string][]string{
	"github.com/HdrHistogram/hdrhistogram-go": {"cmd"},
	"github.com/coder/websocket":              {"cmd/one2one"},
	"github.com/coredns/coredns":              {"deploy/kubernetes/internal/coredns"},
	"github.com/pion/dtls/v3":                 {"relay/secure", "cmd"},
	"github.com/pion/logging":                 {""},
	"github.com/pion/stun/v2":                 {"relay/wire", "cmd"},
	"github.com/pion/turn/v3":                 {"cmd"},
	"github.com/prometheus/client_golang":     {"metrics"},
	"github.com/urfave/cli/v2":                {"cmd"},
	"go.yaml.in/yaml/v3":                      {"cmd"},
	"golang.org/x/sys":                        {"relay/tcp", "relay/udp", "cmd/hairpin"},
	"golang.org/x/text":                       {"auth", "cmd"},
	"unsafe":                                  {"relay/udp", "cmd/hairpin/internal/load"},
}

// topLevel is all that may lie in the root, beside names that begin with a dot.
var topLevel = []string{
	"cmd", "relay", "auth", "metrics", "deploy", "testdata",
	"README.md", "ARCHITECTURE.md", "LICENSE", "Makefile", "Dockerfile", "go.mod", "go.sum",
}

// longest is where a file of code has usually become two subjects; in lines. Generated files and tests may be longer.
const longest = 450

var rules = []struct {
	name  string
	check func(tree) []string
	bad   tree     // a tree that breaks the rule
	fault []string // and how that is said
	good  tree     // what is next to it and allowed
}{
	{
		name:  "imports go downwards",
		check: importsGoDown,
		bad: tree{
			"relay/control/x.go": goFile("control", modulePath+"/relay/forward"),
			"relay/wire/x.go":    goFile("wire", modulePath+"/auth"),
			"relay/cellar/x.go":  goFile("cellar"),
			"relay/udp/x.go":     goFile("udp", modulePath+"/cmd/hairpin"),
		},
		fault: []string{
			"relay/cellar has no floor",
			"relay/control/x.go imports relay/forward",
			"relay/udp/x.go imports cmd/hairpin",
			"relay/wire/x.go imports auth",
		},
		good: tree{
			"relay/control/x.go":       goFile("control", modulePath+"/relay/allocation", "net/netip"),
			"relay/wire/x_test.go":     goFile("wire_test", modulePath+"/relay"),
			"cmd/hairpin/x.go":         goFile("main", modulePath+"/metrics", modulePath+"/cmd/hairpin/table"),
			"deploy/example/main.go":   goFile("main", modulePath+"/auth"),
			"relay/wire/testdata/x.go": goFile("x", modulePath+"/auth"),
		},
	},
	{
		name:  "dependencies stay in their field",
		check: dependenciesStay,
		bad: tree{
			"relay/control/x.go":       goFile("control", "github.com/pion/stun/v2"),
			"relay/forward/x_linux.go": goFile("forward", "unsafe"),
			"auth/x.go":                goFile("auth", "example.com/left/pad"),
			"metrics/x.go":             goFile("metrics", "github.com/pion/turn/v3/internal"),
		},
		fault: []string{
			"auth/x.go imports example.com/left/pad, a dependency without a field",
			"metrics/x.go imports github.com/pion/turn/v3/internal, whose field is cmd",
			"relay/control/x.go imports github.com/pion/stun/v2, whose field is relay/wire, cmd",
			"relay/forward/x_linux.go imports unsafe, whose field is relay/udp",
		},
		good: tree{
			"relay/wire/x.go":         goFile("wire", "github.com/pion/stun/v2", "encoding/binary"),
			"relay/control/x_test.go": goFile("control", "github.com/pion/turn/v3"),
			"cmd/hairpin/x.go":        goFile("main", "github.com/pion/turn/v3"),
			"auth/x.go":               goFile("auth", "github.com/pion/logging"),
		},
	},
	{
		name:  "the top level stays short",
		check: topLevelStaysShort,
		bad:   tree{"internal/x.go": "package internal", "NOTES.md": ""},
		fault: []string{"NOTES.md", "internal"},
		good:  tree{"relay/x.go": "", ".ci/run": "", "README.md": ""},
	},
	{
		name:  "RFC citations name a section that exists",
		check: citationsExist,
		bad: tree{
			"testdata/rfc/index.txt": "RFC 8656 Traversal\nRFC 8656 §12.4 The ChannelData Message\nRFC 1 §2 Orphan\n",
			"relay/a.go": `package a

// RFC8656 says, and RFC 8656 section 12.4, and
// RFC 8656 §12.9, §12.4 and §7; also RFC
// 9999.
//
// As in §12.4.`,
		},
		fault: []string{
			`relay/a.go:3: "RFC 8656 section 12.4" is not written as RFC 8656 §12.4`,
			`relay/a.go:3: "RFC8656" is not written as RFC 8656 §12.4`,
			`relay/a.go:4: RFC 8656 §12.9 is not in testdata/rfc/index.txt`,
			`relay/a.go:4: RFC 8656 §7 is not in testdata/rfc/index.txt`,
			`relay/a.go:4: RFC 9999 is not in testdata/rfc/index.txt`,
			`relay/a.go:7: "§12.4" is not written as RFC 8656 §12.4`,
			`testdata/rfc/index.txt: RFC 1 §2 comes before the title of its RFC`,
		},
		good: tree{
			"testdata/rfc/index.txt": "# comment\nRFC 8656 Traversal\nRFC 8656 §12.4 The ChannelData Message\nRFC 8656 §12 Channels\n",
			"relay/a.go": `package a

// RFC 8656, RFC 8656 §12, §12.4. And RFC 8656
// §12.4 or (see §12); draft-uberti-behave-turn-rest-00 §2.2
// https://www.rfc-editor.org/rfc/rfc8656
var layout = time.RFC3339`,
		},
	},
	{
		name:  "nothing is left open",
		check: nothingLeftOpen,
		bad:   tree{"relay/a.go": "package a\n// TO" + "DO: more", "Makefile": "# FIX" + "ME"},
		fault: []string{"Makefile:1", "relay/a.go:2"},
		good:  tree{"relay/a.go": "package a\n// todos are fine, so is XTODOX", "relay/testdata/fuzz/x": "TO" + "DO"},
	},
	{
		name:  "tests do not sleep",
		check: testsDoNotSleep,
		bad:   tree{"auth/a_test.go": "package a\n\nimport \"time\"\n\nvar nap = time.Sleep"},
		fault: []string{"auth/a_test.go:5"},
		good: tree{
			"auth/a_test.go": "package a\n\n// no time.Sleep",
			"auth/b_test.go": "package a\n\nimport \"testing/synctest\"\n\nvar nap = time.Sleep",
			"cmd/a.go":       "package a\n\nvar nap = time.Sleep",
		},
	},
	{
		name:  "files keep to one subject",
		check: filesStayShort,
		bad:   tree{"auth/a.go": "package a\n" + strings.Repeat("//\n", longest)},
		fault: []string{"auth/a.go has 451 lines"},
		good: tree{
			"auth/a.go":      "package a\n" + strings.Repeat("//\n", longest-1),
			"auth/a_test.go": "package a\n" + strings.Repeat("//\n", longest),
			"auth/b.go":      "// Code generated by x. DO NOT EDIT.\n\npackage a\n" + strings.Repeat("//\n", longest),
		},
	},
	{
		name:  "shared files do not ask for the platform",
		check: sharedFilesDoNotAsk,
		bad: tree{
			"relay/a.go": "package a\n\nvar linux = runtime.GOOS == \"linux\"",
			"relay/b.go": "package a\n\nfunc b() {\n\tswitch runtime.GOOS {\n\t}\n}",
		},
		fault: []string{"relay/a.go:3", "relay/b.go:4"},
		good: tree{
			"relay/a.go":       "package a\n\nvar told = runtime.GOOS",
			"relay/a_other.go": "package a\n\nvar windows = runtime.GOOS == \"windows\"",
		},
	},
	{
		name:  "packages say what they own",
		check: packagesSay,
		bad:   tree{"auth/a.go": "package auth", "auth/a_test.go": "// A test's comment is none.\npackage auth"},
		fault: []string{"auth has no package comment"},
		good:  tree{"auth/a.go": "package auth", "auth/doc.go": "// Package auth owns credentials.\npackage auth"},
	},
}

func TestRules(t *testing.T) {
	repository := readTree(t, "..")
	for _, rule := range rules {
		t.Run(rule.name, func(t *testing.T) {
			for _, fault := range slices.Sorted(slices.Values(rule.check(repository))) {
				t.Error(fault)
			}
			said := slices.Sorted(slices.Values(rule.check(rule.bad)))
			if !slices.EqualFunc(said, rule.fault, strings.HasPrefix) {
				t.Errorf("of the bad tree the rule says\n\t%s\nand not\n\t%s",
					strings.Join(said, "\n\t"), strings.Join(rule.fault, "\n\t"))
			}
			if said := rule.check(rule.good); len(said) != 0 {
				t.Errorf("of the good tree the rule says\n\t%s", strings.Join(said, "\n\t"))
			}
		})
	}
}

func importsGoDown(t tree) (faults []string) {
	homeless := map[string]bool{}
	for file, room := range t.code() {
		if within(room, "cmd") || within(room, "deploy") {
			continue
		}
		below, known := floors[room]
		if !known && !homeless[room] {
			homeless[room] = true
			faults = append(faults, room+" has no floor: give it one in relay/rules_test.go and in ARCHITECTURE.md")
		}
		for _, imported := range t.imports(file) {
			ours, ok := strings.CutPrefix(imported, modulePath+"/")
			if ok && !slices.Contains(below, ours) {
				faults = append(faults, fmt.Sprintf("%s imports %s, which is not below it", file, ours))
			}
		}
	}
	return faults
}

func dependenciesStay(t tree) (faults []string) {
	for file, room := range t.code() {
		for _, imported := range t.imports(file) {
			first, _, _ := strings.Cut(imported, "/")
			if within(imported, modulePath) || !strings.Contains(first, ".") && imported != "unsafe" {
				continue // ours, or the standard library's
			}
			rooms := []string(nil)
			for dependency := range fields {
				if within(imported, dependency) {
					rooms = fields[dependency]
				}
			}
			switch {
			case rooms == nil:
				faults = append(faults, fmt.Sprintf("%s imports %s, a dependency without a field", file, imported))
			case !slices.ContainsFunc(rooms, func(r string) bool { return within(room, r) }):
				faults = append(faults, fmt.Sprintf("%s imports %s, whose field is %s", file, imported, strings.Join(rooms, ", ")))
			}
		}
	}
	return faults
}

func topLevelStaysShort(t tree) (faults []string) {
	for file := range t {
		name, _, _ := strings.Cut(file, "/")
		if !strings.HasPrefix(name, ".") && !slices.Contains(topLevel, name) && !slices.Contains(faults, name) {
			faults = append(faults, name)
		}
	}
	return faults
}

func nothingLeftOpen(t tree) (faults []string) {
	open := regexp.MustCompile(`\b(T[O]DO|F[I]XME|X[X]X|H[A]CK)\b`)
	words := []string{"TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK"}
	for file, text := range t.prose() {
		if !slices.ContainsFunc(words, func(w string) bool { return strings.Contains(text, w) }) {
			continue // the expression is slow
		}
		for _, at := range open.FindAllStringIndex(text, -1) {
			faults = append(faults, fmt.Sprintf("%s: %s: an issue is the place for it", position(file, text, at[0]), text[at[0]:at[1]]))
		}
	}
	return faults
}

func testsDoNotSleep(t tree) (faults []string) {
	for file := range t {
		// In a bubble of testing/synctest a sleep takes no time: it moves the clock.
		if strings.HasSuffix(file, "_test.go") && strings.Contains(t[file], "Sleep") && !slices.Contains(t.imports(file), "testing/synctest") {
			t.inspect(file, func(n ast.Node, where string) {
				if isSelector(n, "time", "Sleep") {
					faults = append(faults, where+": time.Sleep: wait for the event, or use testing/synctest")
				}
			})
		}
	}
	return faults
}

func filesStayShort(t tree) (faults []string) {
	for file := range t.code() {
		lines := strings.Count(t[file], "\n")
		if lines > longest && !ast.IsGenerated(t.parse(token.NewFileSet(), file)) {
			faults = append(faults, fmt.Sprintf("%s has %d lines: is it still one subject? (%d)", file, lines, longest))
		}
	}
	return faults
}

func sharedFilesDoNotAsk(t tree) (faults []string) {
	platform := regexp.MustCompile(`_(other|unix|linux|darwin|windows|freebsd)\.go$`)
	for file := range t.code() {
		if platform.MatchString(file) || !strings.Contains(t[file], "GOOS") {
			continue
		}
		t.inspect(file, func(n ast.Node, where string) {
			asked := false
			switch n := n.(type) {
			case *ast.BinaryExpr:
				asked = isSelector(n.X, "runtime", "GOOS") || isSelector(n.Y, "runtime", "GOOS")
			case *ast.SwitchStmt:
				asked = isSelector(n.Tag, "runtime", "GOOS")
			}
			if asked {
				faults = append(faults, where+": runtime.GOOS decides: make a pair _linux.go and _other.go")
			}
		})
	}
	return faults
}

func packagesSay(t tree) (faults []string) {
	says := map[string]bool{}
	for file, room := range t.code() {
		says[room] = says[room] || t.parse(token.NewFileSet(), file).Doc != nil
	}
	for room, said := range says {
		if !said {
			faults = append(faults, room+" has no package comment: say what it owns and what it refuses")
		}
	}
	return faults
}
