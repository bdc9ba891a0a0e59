package auth

import (
	"encoding/json"
	"maps"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// openAPI is what deploy/openapi.yaml says, as far as it is held against the service.
type openAPI struct {
	Paths map[string]map[string]struct {
		Parameters []reference
		Responses  map[string]struct {
			Ref     string `yaml:"$ref"`
			Content map[string]struct{ Schema reference }
		}
	}
	Components struct {
		SecuritySchemes map[string]struct{ In, Name string } `yaml:"securitySchemes"`
		Parameters      map[string]struct {
			Name     string
			Required bool
			Schema   struct {
				Enum      []string
				Minimum   int
				MaxLength int `yaml:"maxLength"`
			}
		}
		Responses map[string]struct {
			Content map[string]struct{ Schema reference }
		}
		Schemas map[string]struct {
			Required   []string
			Properties map[string]any
		}
	}
}

type reference struct {
	Ref string `yaml:"$ref"`
}

func (r reference) name() string { return r.Ref[strings.LastIndex(r.Ref, "/")+1:] }

// The file and the service say the same: paths, parameters, which are required, what values they take, every status and
// the members of every body.
func TestOpenAPI(t *testing.T) {
	content, err := os.ReadFile("../deploy/openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var api openAPI
	if err := yaml.Unmarshal(content, &api); err != nil {
		t.Fatal(err)
	}
	if paths := slices.Sorted(maps.Keys(api.Paths)); !slices.Equal(paths, []string{"/", "/ice"}) {
		t.Fatalf("paths %q", paths)
	}
	open := newICE(t, Options{Secrets: []string{"s"}}, ICEServiceOptions{})
	closed := newICE(t, Options{Users: []User{alice()}}, ICEServiceOptions{Keys: []string{"k"}})
	unsafe := newICE(t, Options{Users: []User{alice()}}, ICEServiceOptions{})

	for path, methods := range api.Paths {
		operation := methods["get"]
		named := []string{api.Components.SecuritySchemes["key"].Name}
		for _, p := range operation.Parameters {
			parameter := api.Components.Parameters[p.name()]
			named = append(named, parameter.Name)
			others := "service=turn&"
			if parameter.Name == "service" {
				others = ""
			}
			if got := ask(open, path+"?"+strings.TrimSuffix(others, "&")).Code == http.StatusOK; got == parameter.Required {
				t.Errorf("%s: without %s: %v", path, parameter.Name, got)
			}
			for _, value := range parameter.Schema.Enum {
				if w := ask(open, path+"?"+others+parameter.Name+"="+value); w.Code != http.StatusOK {
					t.Errorf("%s: %s=%s: %s", path, parameter.Name, value, w.Body)
				}
			}
			if len(parameter.Schema.Enum) > 0 {
				if w := ask(open, path+"?"+others+parameter.Name+"=other"); w.Code != http.StatusBadRequest {
					t.Errorf("%s: %s takes something else: %d", path, parameter.Name, w.Code)
				}
			}
			if least := parameter.Schema.Minimum; least > 0 && ask(open, path+"?"+others+parameter.Name+"="+strconv.Itoa(least)).Code != http.StatusOK {
				t.Errorf("%s: %s=%d is refused", path, parameter.Name, least)
			}
			if most := parameter.Schema.MaxLength; most > 0 {
				fits := ask(open, path+"?"+others+parameter.Name+"="+strings.Repeat("x", most)).Code
				beyond := ask(open, path+"?"+others+parameter.Name+"="+strings.Repeat("x", most+1)).Code
				if fits != http.StatusOK || beyond != http.StatusBadRequest {
					t.Errorf("%s: %s of %d characters: %d, of one more: %d", path, parameter.Name, most, fits, beyond)
				}
			}
		}
		slices.Sort(named)
		if want := slices.Sorted(slices.Values(iceParameters)); !slices.Equal(named, want) {
			t.Errorf("%s: parameters %q, the service reads %q", path, named, want)
		}

		busy := newICE(t, Options{Users: []User{alice()}}, ICEServiceOptions{Rate: 1})
		answers := map[int]*struct {
			handler http.Handler
			target  string
			repeat  int
		}{
			200: {open, path + "?service=turn", 1},
			400: {open, path, 1},
			401: {closed, path + "?service=turn", 1},
			403: {unsafe, path + "?service=turn", 1},
			404: {open, path + "?service=turn&listener=none", 1},
			429: {busy, path + "?service=turn", int(rateBurst.Seconds()) + 1},
		}
		for status, response := range operation.Responses {
			code, _ := strconv.Atoi(status)
			if code == http.StatusMethodNotAllowed {
				continue // TestICEServiceMethods
			}
			how, known := answers[code]
			if !known {
				t.Errorf("%s: no way to get %s", path, status)
				continue
			}
			delete(answers, code)
			w := ask(how.handler, how.target)
			for range how.repeat - 1 {
				w = ask(how.handler, how.target)
			}
			contents := response.Content
			if response.Ref != "" {
				contents = api.Components.Responses[reference{response.Ref}.name()].Content
			}
			schema := api.Components.Schemas[contents["application/json"].Schema.name()]
			var body map[string]any
			if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil || w.Code != code {
				t.Errorf("%s: %d for %s: %v", path, w.Code, status, err)
			}
			for member := range body {
				if schema.Properties[member] == nil {
					t.Errorf("%s %s: member %q is not in the schema", path, status, member)
				}
			}
			for _, member := range schema.Required {
				if body[member] == nil {
					t.Errorf("%s %s: no member %q in %s", path, status, member, w.Body)
				}
			}
		}
		for code := range answers {
			t.Errorf("%s: status %d is not described", path, code)
		}
	}
}
