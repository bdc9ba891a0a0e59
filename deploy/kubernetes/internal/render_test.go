// Package kubernetes_test holds the manifests beside it against what reads them: the API's own types, Pod Security's own
// rules, the program's own settings; and, where there is one, a cluster. A module of its own, so that nobody who builds the
// relay has to fetch Kubernetes.
package kubernetes_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

const (
	root  = "../../.." // of the repository
	chart = "../chart"
)

// A variant is one way to deploy, by Kustomize and by Helm.
type variant struct {
	name       string
	overlay    string // below ../overlays
	components []string
	namespace  string
	values     map[string]any
}

var variants = []variant{
	{name: "host-network", overlay: "host-network", namespace: "hairpin-host", values: map[string]any{"mode": "host-network"}},
	{name: "load-balancer", overlay: "load-balancer", namespace: "hairpin", values: map[string]any{}},
	{name: "sidecar", overlay: "sidecar", namespace: "hairpin-sidecar", values: map[string]any{"mode": "sidecar"}},
	{name: "demo", overlay: "demo", namespace: "hairpin-demo", values: map[string]any{"mode": "demo"}},
	{
		name: "host-network, monitored", overlay: "host-network", components: []string{"monitoring"}, namespace: "hairpin-host",
		values: map[string]any{"mode": "host-network", "monitoring": map[string]any{"enabled": true}},
	},
	{
		name: "load-balancer, monitored, with the ICE service", overlay: "load-balancer", components: []string{"monitoring", "ice"}, namespace: "hairpin",
		values: map[string]any{"monitoring": map[string]any{"enabled": true}, "ice": map[string]any{"enabled": true}},
	},
}

// kustomize renders the overlay of a variant as YAML. Components, and a patch if there is one, are added by a
// kustomization above it, as users do it.
func (v variant) kustomize(t *testing.T, patches ...string) string {
	t.Helper()
	dir := filepath.Join("..", "overlays", v.overlay)
	if len(v.components)+len(patches) > 0 {
		dir = above(t, v, patches)
	}
	rendered, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), dir)
	if err != nil {
		t.Fatalf("kustomize %s: %v", v.name, err)
	}
	text, err := rendered.AsYaml()
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func above(t *testing.T, v variant, patches []string) string {
	t.Helper()
	dir := t.TempDir()
	relative := func(to string) string {
		here, err := filepath.EvalSymlinks(dir)
		if err != nil {
			t.Fatal(err)
		}
		to, err = filepath.Abs(to)
		if err != nil {
			t.Fatal(err)
		}
		path, err := filepath.Rel(here, to)
		if err != nil {
			t.Fatal(err)
		}
		return path
	}
	file := map[string]any{
		"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization", "namespace": v.namespace,
		"resources": []string{relative("../overlays/" + v.overlay)},
		"images":    []map[string]string{{"name": "hairpin", "newTag": "latest"}},
	}
	var components []string
	for _, name := range v.components {
		components = append(components, relative("../components/"+name))
	}
	file["components"] = components
	var added []map[string]any
	for _, patch := range patches {
		added = append(added, map[string]any{"patch": patch, "target": map[string]string{"labelSelector": "app.kubernetes.io/component=relay"}})
	}
	file["patches"] = added
	text, err := yaml.Marshal(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "kustomization.yaml"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// helm renders the chart with the values of a variant.
func (v variant) helm(t *testing.T) string {
	t.Helper()
	values := maps.Clone(v.values)
	values["namespace"] = map[string]any{"create": true}
	text, err := template(values, v.namespace)
	if err != nil {
		t.Fatalf("helm %s: %v", v.name, err)
	}
	return text
}

func template(values map[string]any, namespace string) (string, error) {
	read, err := loader.Load(chart)
	if err != nil {
		return "", err
	}
	options := chartutil.ReleaseOptions{Name: "hairpin", Namespace: namespace, Revision: 1, IsInstall: true}
	all, err := chartutil.ToRenderValues(read, values, options, chartutil.DefaultCapabilities)
	if err != nil {
		return "", err
	}
	files, err := engine.Engine{Strict: true}.Render(read, all)
	if err != nil {
		return "", err
	}
	var texts []string
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if strings.HasSuffix(name, ".yaml") {
			texts = append(texts, files[name])
		}
	}
	return strings.Join(texts, "\n---\n"), nil
}

// TestChartRefuses holds values that nobody can mean against the chart: each is named, none is corrected.
func TestChartRefuses(t *testing.T) {
	for _, test := range []struct {
		values map[string]any
		says   string
	}{
		{map[string]any{"mode": "hostnetwork"}, "mode"},
		{map[string]any{"imagePullPolicy": "Always"}, "imagePullPolicy"},
		{map[string]any{"settings": map[string]any{"user-quota": 20}}, "user-quota"},
		{map[string]any{"settings": map[string]any{"listen": "udp://:3479"}}, "listen"},
		{map[string]any{"peers": []any{}}, "peers"},
		{map[string]any{"drainMinutes": "1h"}, "drainMinutes"},
		{map[string]any{"mode": "demo", "ice": map[string]any{"enabled": true}}, "ice.enabled"},
	} {
		t.Run(fmt.Sprint(test.values), func(t *testing.T) {
			_, err := template(test.values, "hairpin")
			if err == nil || !strings.Contains(err.Error(), test.says) {
				t.Errorf("got %v, want an error that names %s", err, test.says)
			}
		})
	}
}
