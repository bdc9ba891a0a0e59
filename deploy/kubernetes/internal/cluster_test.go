package kubernetes_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

// A cluster is what KUBECONFIG leads to. Everything is asked of it through kubectl, as an operator would.
type cluster struct {
	kubectl string
	load    string // command that brings an image there, with {tag}, {binary} and {command}; empty: images are there
	dns     string // address of a name server that pods are told of; empty: the cluster's own
	figures []string
}

// connect skips the test unless make test-kubernetes asked for it: a KUBECONFIG that happens to be set is no consent.
func connect(t *testing.T) *cluster {
	t.Helper()
	if os.Getenv("HAIRPIN_TEST_KUBERNETES") == "" {
		t.Skip("no cluster: make test-kubernetes with KUBECONFIG")
	}
	c := &cluster{kubectl: os.Getenv("KUBECTL"), load: os.Getenv("HAIRPIN_IMAGE_LOAD")}
	if c.kubectl == "" {
		c.kubectl = "kubectl"
	}
	c.run(t, "", "get", "--raw", "/readyz")
	t.Cleanup(func() {
		for _, figure := range c.figures {
			fmt.Println("figure:", figure)
		}
	})
	return c
}

func (c *cluster) figure(t *testing.T, format string, values ...any) {
	t.Helper()
	c.figures = append(c.figures, fmt.Sprintf(format, values...))
	t.Log(c.figures[len(c.figures)-1])
}

// try runs kubectl with what it reads, and returns what it says, on both of its outputs.
func (c *cluster) try(ctx context.Context, input string, args ...string) (string, error) {
	command := exec.CommandContext(ctx, c.kubectl, args...)
	command.Stdin = strings.NewReader(input)
	said, err := command.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("kubectl %s: %w\n%s", strings.Join(args, " "), err, said)
	}
	return string(said), err
}

func (c *cluster) run(t *testing.T, input string, args ...string) string {
	t.Helper()
	said, err := c.try(t.Context(), input, args...)
	if err != nil {
		t.Fatal(err)
	}
	return said
}

// get decodes an object, or a list of them, as the API server has it.
func (c *cluster) get(t *testing.T, into any, args ...string) {
	t.Helper()
	text := c.run(t, "", append([]string{"get", "-o", "json"}, args...)...)
	if err := json.Unmarshal([]byte(text), into); err != nil {
		t.Fatal(err)
	}
}

// pods returns those of relays, also those that are ending.
func (c *cluster) pods(t *testing.T, namespace string) []corev1.Pod {
	t.Helper()
	var list corev1.PodList
	c.get(t, &list, "pods", "-n", namespace, "-l", "app.kubernetes.io/component=relay")
	return list.Items
}

// eventually asks again and again until there is no error, and returns how long that took.
func eventually(t *testing.T, limit time.Duration, what string, ask func() error) time.Duration {
	t.Helper()
	begun := time.Now()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ask()
		if err == nil {
			return time.Since(begun)
		}
		if time.Since(begun) > limit {
			t.Fatalf("%s: not within %s: %v", what, limit, err)
		}
		<-tick.C
	}
}

// image brings a program of this repository, or of a module within, to the cluster.
func (c *cluster) image(t *testing.T, tag, dir, pkg string, command string) {
	t.Helper()
	if c.load == "" {
		return
	}
	binary := filepath.Join(t.TempDir(), filepath.Base(strings.TrimSuffix(tag, ":latest")))
	if binary = strings.Replace(binary, "hairpin-", "", 1); pkg == "./cmd/hairpin" {
		binary = filepath.Join(filepath.Dir(binary), "hairpin")
	}
	build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", binary, pkg)
	build.Dir, build.Env = dir, append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux")
	if said, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build %s: %v\n%s", pkg, err, said)
	}
	line := strings.NewReplacer("{tag}", tag, "{binary}", binary, "{command}", command).Replace(c.load)
	if said, err := exec.CommandContext(t.Context(), "sh", "-c", line).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", line, err, said)
	}
}

// nameServer starts CoreDNS where the cluster has no DNS. Pods are then told of it by a patch.
func (c *cluster) nameServer(t *testing.T) {
	t.Helper()
	services := c.run(t, "", "get", "services", "-n", "kube-system", "-l", "k8s-app=kube-dns", "-o", "name")
	if strings.TrimSpace(services) != "" {
		return
	}
	c.image(t, "hairpin-coredns:latest", "coredns", ".", "-conf /etc/coredns/Corefile")
	manifest, err := os.ReadFile("testdata/coredns.yaml")
	if err != nil {
		t.Fatal(err)
	}
	c.run(t, string(manifest), "apply", "-f", "-")
	t.Cleanup(func() { c.try(context.Background(), string(manifest), "delete", "--wait=false", "-f", "-") })
	c.run(t, "", "-n", "hairpin-dns", "rollout", "status", "deployment/coredns", "--timeout=60s")
	var service corev1.Service
	c.get(t, &service, "service", "coredns", "-n", "hairpin-dns")
	c.dns = service.Spec.ClusterIP
	c.figure(t, "the cluster has no DNS: CoreDNS runs as a pod at %s", c.dns)
}

// render is the overlay of a variant as it is, but for the name server in a cluster without one.
func (c *cluster) render(t *testing.T, v variant, patches ...string) string {
	t.Helper()
	if c.dns != "" {
		patches = append(patches, fmt.Sprintf(`
apiVersion: apps/v1
kind: Deployment
metadata: {name: any}
spec:
  template:
    spec:
      dnsPolicy: None
      dnsConfig:
        nameservers: [%s]
        searches: [%s.svc.cluster.local, svc.cluster.local, cluster.local]
        options: [{name: ndots, value: "5"}]
`, c.dns, v.namespace))
	}
	return v.kustomize(t, patches...)
}

// status writes a Service's address of a load balancer, as a balancer would.
func (c *cluster) balance(t *testing.T, namespace, service, address string) {
	t.Helper()
	c.run(t, "", "-n", namespace, "patch", "service", service, "--subresource=status",
		"-p", fmt.Sprintf(`{"status": {"loadBalancer": {"ingress": [{"ip": %q}]}}}`, address))
}

// secret writes the Secret "hairpin".
func (c *cluster) secret(t *testing.T, namespace, lines string) {
	t.Helper()
	text, err := yaml.Marshal(map[string]any{
		"apiVersion": "v1", "kind": "Secret", "metadata": map[string]string{"name": "hairpin", "namespace": namespace},
		"stringData": map[string]string{"secrets": lines},
	})
	if err != nil {
		t.Fatal(err)
	}
	c.run(t, string(text), "apply", "-f", "-")
}

// A call is what hairpin probe says of one.
type call struct {
	Status  string `json:"status"`
	Packets struct{ Sent, Received, Lost int }
	Error   struct{ Text string }
}

// probe calls through a relay from outside the cluster.
func probe(ctx context.Context, uri string, args ...string) (call, error) {
	binary, err := built()
	if err != nil {
		return call{}, err
	}
	command := exec.CommandContext(ctx, binary, append(append([]string{"probe", "--json"}, args...), uri)...)
	var said, faults bytes.Buffer
	command.Stdout, command.Stderr = &said, &faults
	err = command.Run()
	var c call
	if wrong := json.Unmarshal(said.Bytes(), &c); wrong != nil {
		return c, errors.Join(err, wrong, errors.New(faults.String()))
	}
	if c.Status != "good" {
		return c, fmt.Errorf("%s: %s: %s, sent %d, received %d", uri, c.Status, c.Error.Text, c.Packets.Sent, c.Packets.Received)
	}
	return c, nil
}
