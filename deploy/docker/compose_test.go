package docker_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

// A composeFile has the keys that our files may use: another one is a slip, or needs a thought here.
type composeFile struct {
	Services map[string]*service
	Networks map[string]struct {
		Driver     string
		DriverOpts map[string]string `yaml:"driver_opts"`
		IPAM       struct {
			Config []struct{ Subnet, Gateway string }
		}
	}
	Secrets map[string]struct{ File string }
}

type service struct {
	Extends         *struct{ File, Service string }
	Image           string
	Build           any
	PullPolicy      string `yaml:"pull_policy"`
	Restart         string
	ReadOnly        bool     `yaml:"read_only"`
	CapDrop         []string `yaml:"cap_drop"`
	SecurityOpt     []string `yaml:"security_opt"`
	Secrets         []string
	Environment     map[string]string
	StopGracePeriod string                                `yaml:"stop_grace_period"`
	DependsOn       map[string]struct{ Condition string } `yaml:"depends_on"`
	NetworkMode     string                                `yaml:"network_mode"`
	Networks        map[string]struct {
		IPv4Address string `yaml:"ipv4_address"`
	}
	Ports   []string
	Logging struct {
		Driver  string
		Options map[string]string
	}
}

// composeEnvironment is what a user would say for the files together.
var composeEnvironment = map[string]string{
	"HAIRPIN_PUBLIC_ADDRESS": "198.51.100.2",
	"HAIRPIN_ADDRESS":        "198.51.100.50",
	"HAIRPIN_PARENT":         "eth0",
	"HAIRPIN_SUBNET":         "198.51.100.0/24",
	"HAIRPIN_GATEWAY":        "198.51.100.1",
}

var variable = regexp.MustCompile(`\$\{(\w+)(?::([-?])([^}]*))?\}`)

// readCompose decodes a file as Compose reads it in the environment: variables replaced, what is extended taken over.
func readCompose(t *testing.T, name string, environment map[string]string) composeFile {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	text = variable.ReplaceAllFunc(text, func(found []byte) []byte {
		parts := variable.FindSubmatch(found)
		said, given := environment[string(parts[1])]
		switch {
		case given:
			return []byte(said)
		case string(parts[2]) == "-":
			return parts[3]
		}
		t.Errorf("%s: %s has no value, and nothing stands for it", name, found)
		return nil
	})
	var file composeFile
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	decoder.KnownFields(true)
	if err := decoder.Decode(&file); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	for _, s := range file.Services {
		if s.Extends == nil {
			continue
		}
		base := readCompose(t, s.Extends.File, environment).Services[s.Extends.Service]
		if base == nil {
			t.Fatalf("%s extends a service that %s does not have", name, s.Extends.File)
		}
		s.take(base)
	}
	return file
}

// take adds what a service inherits, as far as our files go: it replaces nothing but variables.
func (s *service) take(base *service) {
	s.Image, s.PullPolicy, s.Restart, s.ReadOnly = base.Image, base.PullPolicy, base.Restart, base.ReadOnly
	s.CapDrop, s.SecurityOpt, s.Secrets, s.StopGracePeriod = base.CapDrop, base.SecurityOpt, base.Secrets, base.StopGracePeriod
	s.Ports = append(s.Ports, base.Ports...)
	environment := map[string]string{}
	for _, of := range []map[string]string{base.Environment, s.Environment} {
		for key, value := range of {
			environment[key] = value
		}
	}
	s.Environment = environment
}

func composeFiles(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("compose.*.yaml")
	if err != nil || len(files) < 5 {
		t.Fatalf("%q, %v", files, err)
	}
	return slices.DeleteFunc(files, func(name string) bool { return name == "compose.base.yaml" })
}

// effective is what the program makes of the variables of a service.
func effective(t *testing.T, environment map[string]string) (settings struct {
	Listen        []string
	PublicAddress []string `yaml:"public-address"`
	Admin, ICE    string
	DrainTimeout  time.Duration `yaml:"drain-timeout"`
}) {
	t.Helper()
	command := exec.Command(program(t, "hairpin"), "config", "print")
	for name, value := range environment {
		if name == "HAIRPIN_SECRETS_FILE" {
			value = filepath.Join(t.TempDir(), "secrets") // the container's own is not here
			if err := os.WriteFile(value, []byte("sesame\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		command.Env = append(command.Env, name+"="+value)
	}
	var complaint bytes.Buffer
	command.Stderr = &complaint
	printed, err := command.Output()
	if err == nil {
		err = yaml.Unmarshal(printed, &settings)
	}
	if err != nil {
		t.Fatalf("%v\n%s%s", err, complaint.Bytes(), printed)
	}
	return settings
}

// variables are those that a program takes, by its own help.
func variables(t *testing.T, help ...string) []string {
	t.Helper()
	text, err := exec.Command(help[0], help[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	var names []string
	for _, found := range regexp.MustCompile(`\$(\w+)\]`).FindAllSubmatch(text, -1) {
		names = append(names, string(found[1]))
	}
	return names
}

// Every file says what the programs understand: each variable is one of theirs, each port one that they listen on.
func TestComposeFiles(t *testing.T) {
	known := append(variables(t, program(t, "hairpin"), "serve", "--help"), variables(t, program(t, "one2one"), "--help")...)
	for _, name := range composeFiles(t) {
		for _, port := range []string{"", "5349"} {
			t.Run(strings.TrimSpace(name+" "+port), func(t *testing.T) {
				environment := map[string]string{}
				for key, value := range composeEnvironment {
					environment[key] = value
				}
				if port != "" {
					environment["HAIRPIN_PORT"] = port
				}
				file := readCompose(t, name, environment)
				for called, s := range file.Services {
					s.check(t, called, known)
					for _, secret := range s.Secrets {
						if file.Secrets[secret].File == "" {
							t.Errorf("%s has no secret %q", called, secret)
						}
					}
				}
				relay := file.Services["hairpin"]
				if relay == nil {
					t.Fatal("there is no service hairpin")
				}
				relay.checkRelay(t)
				if page := file.Services["one2one"]; page != nil {
					_, port, _ := strings.Cut(page.Environment["ONE2ONE_ADDRESS"], ":")
					if !slices.Equal(page.Ports, []string{port + ":" + port + "/tcp"}) {
						t.Errorf("one2one listens at %s and publishes %q", page.Environment["ONE2ONE_ADDRESS"], page.Ports)
					}
					_, port, _ = strings.Cut(relay.Environment["HAIRPIN_ICE"], ":")
					if want := "http://hairpin:" + port + "/ice"; page.Environment["ONE2ONE_ICE_URL"] != want {
						t.Errorf("one2one asks %s, not %s", page.Environment["ONE2ONE_ICE_URL"], want)
					}
				}
			})
		}
	}
}

// check is about every container of ours.
func (s *service) check(t *testing.T, name string, known []string) {
	t.Helper()
	if !s.ReadOnly || !slices.Equal(s.CapDrop, []string{"ALL"}) || !slices.Equal(s.SecurityOpt, []string{"no-new-privileges:true"}) {
		t.Errorf("%s may do more than it needs: %+v", name, s)
	}
	if s.PullPolicy != "never" || s.Restart != "unless-stopped" || s.Image == "" {
		t.Errorf("%s: image %q, pull_policy %q, restart %q", name, s.Image, s.PullPolicy, s.Restart)
	}
	for variable := range s.Environment {
		if !slices.Contains(known, variable) {
			t.Errorf("%s: nobody reads %s", name, variable)
		}
	}
}

func (s *service) checkRelay(t *testing.T) {
	t.Helper()
	settings := effective(t, s.Environment)
	grace, err := time.ParseDuration(s.StopGracePeriod)
	if err != nil || grace <= settings.DrainTimeout {
		t.Errorf("the engine kills after %s (%v), calls may go on for %v", s.StopGracePeriod, err, settings.DrainTimeout)
	}
	if len(s.Ports) == 0 {
		if s.NetworkMode != "host" && len(s.Networks) == 0 {
			t.Error("nothing is published, and there is no network outside")
		}
		return
	}
	var published []string
	for _, l := range settings.Listen {
		transport, port, _ := strings.Cut(l, "://0.0.0.0:")
		published = append(published, fmt.Sprintf("%s:%s/%s", port, port, transport))
	}
	if !slices.Equal(s.Ports, published) {
		t.Errorf("listens on %q, publishes %q", settings.Listen, s.Ports)
	}
	if len(settings.PublicAddress) != 1 {
		t.Errorf("clients are sent to %q, which nobody outside the bridge can reach", settings.PublicAddress)
	}
}

// What the documents name is there: files, and variables that a program or a Compose file reads.
func TestDocuments(t *testing.T) {
	known := append(variables(t, program(t, "hairpin"), "serve", "--help"), variables(t, program(t, "one2one"), "--help")...)
	files, _ := filepath.Glob("compose.*.yaml")
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, found := range variable.FindAllSubmatch(text, -1) {
			known = append(known, string(found[1]))
		}
	}
	known = append(known, variables(t, program(t, "hairpin"), "probe", "--help")...)
	known = append(known, benchmark)
	path := regexp.MustCompile(`\b(?:deploy|cmd)/[\w./-]*\w`)
	named := regexp.MustCompile(`\b(?:HAIRPIN|ONE2ONE)_\w+`)
	for _, document := range []string{"README.md", "../README.md"} {
		text, err := os.ReadFile(document)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range path.FindAllString(string(text), -1) {
			if strings.HasPrefix(name, "deploy/docker/secrets") {
				continue // made by deploy/docker/up
			}
			if _, err := os.Stat("../kubernetes"); err != nil && strings.HasPrefix(name, "deploy/kubernetes/") {
				continue // this tree has no manifests to hold it against
			}
			if _, err := os.Stat(filepath.Join("../..", name)); err != nil {
				t.Errorf("%s: %v", document, err)
			}
		}
		for _, name := range named.FindAllString(string(text), -1) {
			if !slices.Contains(known, name) {
				t.Errorf("%s: nobody reads %s", document, name)
			}
		}
	}
}

// The flags are said twice, as neither file can read the other.
func TestImagesAreBuiltAlike(t *testing.T) {
	makefile, err := os.ReadFile("../../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	dockerfile, err := os.ReadFile("../../Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	flags := regexp.MustCompile(`(?m)^IMAGE_FLAGS = (.+)$`).FindSubmatch(makefile)
	if flags == nil || !bytes.Contains(dockerfile, []byte("go build -trimpath "+string(flags[1])+" -ldflags")) {
		t.Errorf("the Dockerfile does not build with %q", flags)
	}
}
