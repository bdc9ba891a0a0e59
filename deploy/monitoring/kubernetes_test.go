package monitoring

import (
	"flag"
	"os"
	"strings"
	"testing"
)

//go:generate go test -run ^TestKubernetesHasTheSameRules$ -update .

var update = flag.Bool("update", false, "write Kubernetes' copies of rules.yaml anew")

const prometheusRule = `# From deploy/monitoring/rules.yaml, by go generate there.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: hairpin
  labels:
    app.kubernetes.io/name: hairpin
spec:
`

// Kubernetes' rules are those of rules.yaml: neither Kustomize nor Helm reads files of other directories.
func TestKubernetesHasTheSameRules(t *testing.T) {
	text, err := os.ReadFile("rules.yaml")
	if err != nil {
		t.Fatal(err)
	}
	groups := string(text)[strings.Index(string(text), "groups:\n"):]
	indented := "  " + strings.ReplaceAll(strings.TrimSuffix(groups, "\n"), "\n", "\n  ") + "\n"
	for path, want := range map[string]string{
		"../kubernetes/components/monitoring/rules.yaml": prometheusRule + strings.ReplaceAll(indented, "\n  \n", "\n\n"),
		"../kubernetes/chart/rules.yaml":                 "# From deploy/monitoring/rules.yaml, by go generate there.\n" + groups,
	} {
		if *update {
			if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != want {
			t.Errorf("%s is not what rules.yaml makes of it: go generate ./deploy/monitoring (%v)", path, err)
		}
	}
}
