package relay_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"iter"
	"os"
	"path"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"
)

// A tree is what the rules read: the contents of files by their slash-separated paths from the root.
type tree map[string]string

// readTree reads a checkout as git sees it: without .git and without what the top .gitignore names.
func readTree(t *testing.T, root string) tree {
	t.Helper()
	files := os.DirFS(root)
	ignore, err := fs.ReadFile(files, ".gitignore")
	if err != nil {
		t.Fatal(err)
	}
	patterns := append(strings.Fields(string(ignore)), "/.git")
	read := tree{}
	err = fs.WalkDir(files, ".", func(file string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case isIgnored(file, patterns) && entry.IsDir():
			return fs.SkipDir
		case isIgnored(file, patterns) || !entry.Type().IsRegular():
			return nil
		}
		text, err := fs.ReadFile(files, file)
		read[file] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return read
}

func isIgnored(file string, patterns []string) bool {
	for _, pattern := range patterns {
		name := path.Base(file)
		if strings.HasPrefix(pattern, "/") {
			name = "/" + file
		}
		if ok, _ := path.Match(strings.TrimSuffix(pattern, "/"), name); ok {
			return true
		}
	}
	return false
}

// code yields the Go files that are not tests, each with the room that it is in.
func (t tree) code() iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for file := range t {
			outside := isData(file) || strings.HasSuffix(file, "_test.go")
			if strings.HasSuffix(file, ".go") && !outside && !yield(file, path.Dir(file)) {
				return
			}
		}
	}
}

// prose yields every file that people wrote as text, but for the one that quotes what it forbids.
func (t tree) prose() iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for file, text := range t {
			outside := isData(file) || file == "relay/rules_test.go" || !utf8.ValidString(text)
			if !outside && !yield(file, text) {
				return
			}
		}
	}
}

func isData(file string) bool {
	return strings.Contains("/"+file, "/testdata/")
}

// parse leaves faults of the syntax to the compiler: what could be read is enough here.
func (t tree) parse(set *token.FileSet, file string) *ast.File {
	parsed, _ := parser.ParseFile(set, file, t[file], parser.ParseComments|parser.SkipObjectResolution)
	return parsed
}

func (t tree) imports(file string) (paths []string) {
	for _, spec := range t.parse(token.NewFileSet(), file).Imports {
		if name, err := strconv.Unquote(spec.Path.Value); err == nil {
			paths = append(paths, name)
		}
	}
	return paths
}

// inspect visits every node of a Go file with its place as file:line.
func (t tree) inspect(file string, visit func(n ast.Node, where string)) {
	set := token.NewFileSet()
	ast.Inspect(t.parse(set, file), func(n ast.Node) bool {
		if n != nil {
			visit(n, fmt.Sprintf("%s:%d", file, set.Position(n.Pos()).Line))
		}
		return true
	})
}

// isSelector tells whether a node is the selector pkg.name.
func isSelector(n ast.Node, pkg, name string) bool {
	selector, ok := n.(*ast.SelectorExpr)
	if !ok || selector.Sel.Name != name {
		return false
	}
	x, ok := selector.X.(*ast.Ident)
	return ok && x.Name == pkg
}

// within tells whether name is dir or below it; everything is within "".
func within(name, dir string) bool {
	return dir == "" || name == dir || strings.HasPrefix(name, dir+"/")
}

func position(file, text string, offset int) string {
	return fmt.Sprintf("%s:%d", file, 1+strings.Count(text[:offset], "\n"))
}

// goFile is a Go file that imports paths.
func goFile(pkg string, paths ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "package %s\n", pkg)
	for _, name := range paths {
		fmt.Fprintf(&b, "import %q\n", name)
	}
	return b.String()
}
