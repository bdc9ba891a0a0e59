package kubernetes_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"sigs.k8s.io/yaml"
)

// TestSettings gives each container's command and variables to the program itself, as a kubelet would: it must know each of
// them, find nothing wrong, and listen where the manifest says.
func TestSettings(t *testing.T) {
	help := hairpin(t, nil, "serve", "--help")
	for _, v := range variants {
		t.Run(v.name, func(t *testing.T) {
			all := decode(t, v.kustomize(t))
			for _, w := range all.workloads() {
				for _, container := range w.template.Spec.Containers {
					if !strings.HasPrefix(container.Image, "hairpin:") {
						continue
					}
					if hook := container.Lifecycle; hook != nil {
						command := hook.PreStop.Exec.Command
						hairpin(t, nil, append(slices.Clone(command[1:]), "--help")...)
					}
					if !slices.Equal(container.Args, []string{"serve"}) {
						t.Errorf("%s: %s runs %q", w.id, container.Name, container.Args)
					}
					variables := environment(t, all, w, container)
					for _, one := range variables {
						name, _, _ := strings.Cut(one, "=")
						if strings.HasPrefix(name, "HAIRPIN_") && !strings.Contains(help, "[$"+name+"]") {
							t.Errorf("%s: %s: no setting has the variable %s", w.id, container.Name, name)
						}
					}
					listening(t, w.id, container, hairpin(t, variables, "config", "print"))
				}
			}
		})
	}
}

// TestPageSettings is the same for the variables of the demonstration's page.
func TestPageSettings(t *testing.T) {
	help, err := os.ReadFile(filepath.Join(root, "cmd", "one2one", "testdata", "help.txt"))
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for _, w := range decode(t, variants[3].kustomize(t)).workloads() {
		for _, container := range w.template.Spec.Containers {
			for _, v := range container.Env {
				if container.Name == "one2one" && !strings.Contains(string(help), "[$"+v.Name+"]") {
					t.Errorf("no flag has the variable %s", v.Name)
				}
			}
			if container.Name == "one2one" {
				found = strings.HasSuffix(variable(container, "ONE2ONE_ADDRESS"), fmt.Sprint(":", container.Ports[0].ContainerPort))
			}
		}
	}
	if !found {
		t.Error("the page is not where its port is")
	}
}

var built = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "hairpin")
	if err != nil {
		return "", err
	}
	binary := filepath.Join(dir, "hairpin")
	build := exec.Command("go", "build", "-trimpath", "-o", binary, "./cmd/hairpin")
	build.Dir, build.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	said, err := build.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("go build: %w\n%s", err, said)
	}
	return binary, err
})

func TestMain(m *testing.M) {
	code := m.Run()
	if binary, err := built(); err == nil {
		os.RemoveAll(filepath.Dir(binary))
	}
	os.Exit(code)
}

// hairpin runs the program with these variables alone, and returns what it prints.
func hairpin(t *testing.T, variables []string, args ...string) string {
	t.Helper()
	binary, err := built()
	if err != nil {
		t.Fatal(err)
	}
	command := exec.Command(binary, args...)
	command.Env = variables
	if command.Env == nil {
		command.Env = []string{}
	}
	said, err := command.CombinedOutput()
	if err != nil {
		t.Errorf("hairpin %s: %v\n%s", strings.Join(args, " "), err, said)
	}
	return string(said)
}

// fields are what the downward API would say of some pod.
var fields = map[string]string{"status.podIP": "10.1.2.3", "status.podIPs": "10.1.2.3", "status.hostIP": "192.0.2.7"}

// environment is what a kubelet would give to the container, with the files of its volumes in a directory of the test.
func environment(t *testing.T, all objects, w workload, container corev1.Container) (variables []string) {
	t.Helper()
	files := t.TempDir()
	known := map[string]string{}
	for _, v := range container.Env {
		value := v.Value
		if from := v.ValueFrom; from != nil {
			switch {
			case from.FieldRef != nil:
				value = fields[from.FieldRef.FieldPath]
			case from.ResourceFieldRef != nil && from.ResourceFieldRef.Resource == "requests.cpu":
				value = fmt.Sprint(container.Resources.Requests.Cpu().Value()) // rounded up
			case from.ConfigMapKeyRef != nil:
				value = all["ConfigMap "+from.ConfigMapKeyRef.Name].(*corev1.ConfigMap).Data[from.ConfigMapKeyRef.Key]
			case from.SecretKeyRef != nil:
				value = "a-key-of-the-test"
			}
			if value == "" {
				t.Errorf("%s: %s has no value", w.id, v.Name)
			}
		}
		value = regexp.MustCompile(`\$\([^)]*\)`).ReplaceAllStringFunc(value, func(reference string) string {
			earlier, ok := known[strings.Trim(reference, "$()")]
			if !ok {
				t.Errorf("%s: %s refers to %s, which does not stand ahead of it", w.id, v.Name, reference)
			}
			return earlier
		})
		for _, mount := range container.VolumeMounts {
			if value == mount.MountPath && mount.SubPath != "" || strings.HasPrefix(value, mount.MountPath+"/") {
				content := "a-random-text"
				for _, volume := range w.template.Spec.Volumes {
					if volume.Name == mount.Name && volume.ConfigMap != nil {
						content = all["ConfigMap "+volume.ConfigMap.Name].(*corev1.ConfigMap).Data[filepath.Base(value)]
					}
				}
				value = filepath.Join(files, v.Name)
				if err := os.WriteFile(value, []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
		}
		known[v.Name] = value
		variables = append(variables, v.Name+"="+value)
	}
	return variables
}

// listening compares the ports of a container with the addresses in what "config print" says.
func listening(t *testing.T, where string, container corev1.Container, printed string) {
	t.Helper()
	var effective struct {
		Listen     []string `json:"listen"`
		Admin, ICE string
	}
	if err := yaml.Unmarshal([]byte(printed), &effective); err != nil {
		t.Fatalf("%v in\n%s", err, printed)
	}
	var want, got []string
	for _, address := range effective.Listen {
		if scheme, rest, ok := strings.Cut(address, "://"); ok {
			want = append(want, strings.ToUpper(scheme)+rest[strings.LastIndex(rest, ":"):])
		}
	}
	for _, address := range []string{effective.Admin, effective.ICE} {
		if strings.Contains(address, ":") && !strings.HasPrefix(address, "127.0.0.1:") { // else it is not for others
			want = append(want, "TCP"+address[strings.LastIndex(address, ":"):])
		}
	}
	for _, port := range container.Ports {
		got = append(got, fmt.Sprintf("%s:%d", port.Protocol, port.ContainerPort))
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(want, got) {
		t.Errorf("%s: %s has the ports %q and listens on %q", where, container.Name, got, want)
	}
}

// parseQuantity reads what Kubernetes and Go write alike: 230Mi. In bytes.
func parseQuantity(text string) (int64, error) {
	q, err := resource.ParseQuantity(text)
	return q.Value(), err
}
