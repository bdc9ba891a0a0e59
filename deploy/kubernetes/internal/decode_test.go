package kubernetes_test

import (
	"bytes"
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// kinds are those that a manifest may have, with the Go types of the API.
var kinds = map[string]func() metav1.Object{
	"v1 ConfigMap":                            func() metav1.Object { return new(corev1.ConfigMap) },
	"v1 Namespace":                            func() metav1.Object { return new(corev1.Namespace) },
	"v1 Service":                              func() metav1.Object { return new(corev1.Service) },
	"v1 ServiceAccount":                       func() metav1.Object { return new(corev1.ServiceAccount) },
	"apps/v1 DaemonSet":                       func() metav1.Object { return new(appsv1.DaemonSet) },
	"apps/v1 Deployment":                      func() metav1.Object { return new(appsv1.Deployment) },
	"autoscaling/v2 HorizontalPodAutoscaler":  func() metav1.Object { return new(autoscalingv2.HorizontalPodAutoscaler) },
	"networking.k8s.io/v1 NetworkPolicy":      func() metav1.Object { return new(networkingv1.NetworkPolicy) },
	"policy/v1 PodDisruptionBudget":           func() metav1.Object { return new(policyv1.PodDisruptionBudget) },
	"monitoring.coreos.com/v1 ServiceMonitor": func() metav1.Object { return new(serviceMonitor) },
	"monitoring.coreos.com/v1 PrometheusRule": func() metav1.Object { return new(prometheusRule) },
}

// serviceMonitor and prometheusRule are of Prometheus' operator: what of them is used here.
type serviceMonitor struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              struct {
		Selector  metav1.LabelSelector `json:"selector"`
		Endpoints []struct {
			Port     string `json:"port"`
			Path     string `json:"path"`
			Interval string `json:"interval"`
		} `json:"endpoints"`
	} `json:"spec"`
}

type prometheusRule struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              struct {
		Groups []struct {
			Name  string `json:"name"`
			Rules []struct {
				Record      string            `json:"record"`
				Alert       string            `json:"alert"`
				Expr        string            `json:"expr"`
				For         string            `json:"for"`
				Labels      map[string]string `json:"labels"`
				Annotations map[string]string `json:"annotations"`
			} `json:"rules"`
		} `json:"groups"`
	} `json:"spec"`
}

// objects are those of one rendering, by "Kind name".
type objects map[string]metav1.Object

// decode reads YAML documents strictly: a key that the type doesn't have, or that is there twice, is a fault.
func decode(t *testing.T, text string) objects {
	t.Helper()
	found := objects{}
	for document := range bytes.SplitSeq([]byte("\n"+text), []byte("\n---")) {
		var head metav1.PartialObjectMetadata
		if err := yaml.Unmarshal(document, &head); err != nil {
			t.Fatalf("%v in:\n%s", err, document)
		}
		if head.Kind == "" {
			if strings.TrimSpace(string(document)) != "" && !onlyComments(document) {
				t.Fatalf("no kind in:\n%s", document)
			}
			continue
		}
		made, known := kinds[head.APIVersion+" "+head.Kind]
		if !known {
			t.Fatalf("%s %s is not known here", head.APIVersion, head.Kind)
		}
		object := made()
		if err := yaml.UnmarshalStrict(document, object); err != nil {
			t.Errorf("%s %s: %v", head.Kind, head.Name, err)
		}
		id := head.Kind + " " + head.Name
		if found[id] != nil {
			t.Errorf("%s is there twice", id)
		}
		found[id] = object
	}
	return found
}

func onlyComments(document []byte) bool {
	for line := range bytes.Lines(document) {
		if text := bytes.TrimSpace(line); len(text) > 0 && text[0] != '#' && !bytes.Equal(text, []byte("---")) {
			return false
		}
	}
	return true
}

// of returns the objects of one type.
func of[T metav1.Object](all objects) (some []T) {
	for _, object := range all {
		if one, ok := object.(T); ok {
			some = append(some, one)
		}
	}
	return some
}

// A workload is what makes pods.
type workload struct {
	id       string
	selector *metav1.LabelSelector
	template *corev1.PodTemplateSpec
}

func (all objects) workloads() (some []workload) {
	for id, object := range all {
		switch w := object.(type) {
		case *appsv1.Deployment:
			some = append(some, workload{id, w.Spec.Selector, &w.Spec.Template})
		case *appsv1.DaemonSet:
			some = append(some, workload{id, w.Spec.Selector, &w.Spec.Template})
		}
	}
	return some
}

// TestDecode also shows that the decoder can refuse.
func TestDecode(t *testing.T) {
	for _, v := range variants {
		t.Run(v.name, func(t *testing.T) {
			if all := decode(t, v.kustomize(t)); len(all) < 5 {
				t.Errorf("only %d objects", len(all))
			}
		})
	}
	wrong := "apiVersion: v1\nkind: Service\nmetadata: {name: x}\nspec: {clusterIPP: None}\n"
	if err := yaml.UnmarshalStrict([]byte(wrong), new(corev1.Service)); err == nil {
		t.Error("a misspelt field was not refused")
	}
}

// TestChartYieldsTheSame compares the objects of Helm with those of Kustomize. The order of what has names is no difference;
// that of variables, which counts where one refers to another, is TestSettings' matter.
func TestChartYieldsTheSame(t *testing.T) {
	for _, v := range variants {
		t.Run(v.name, func(t *testing.T) {
			want, got := decode(t, v.kustomize(t)), decode(t, v.helm(t))
			for id, object := range want {
				if got[id] == nil {
					t.Errorf("the chart has no %s", id)
				} else if a, b := sorted(t, object), sorted(t, got[id]); a != b {
					t.Errorf("%s differs:\n%s", id, difference(a, b))
				}
			}
			for id := range got {
				if want[id] == nil {
					t.Errorf("the overlay has no %s", id)
				}
			}
		})
	}
}

func sorted(t *testing.T, object metav1.Object) string {
	t.Helper()
	for _, w := range (objects{"": object}).workloads() {
		pod := &w.template.Spec
		byName(pod.Containers)
		byName(pod.Volumes)
		for i := range pod.Containers {
			byName(pod.Containers[i].Env)
			byName(pod.Containers[i].VolumeMounts)
		}
	}
	text, err := yaml.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func byName[T any](named []T) {
	slices.SortFunc(named, func(a, b T) int {
		name := func(v T) string { return reflect.ValueOf(v).FieldByName("Name").String() }
		return cmp.Compare(name(a), name(b))
	})
}

// difference is the lines of either text that the other has not.
func difference(a, b string) string {
	var said strings.Builder
	only := func(sign, a, b string) {
		for line := range strings.Lines(a) {
			if !strings.Contains("\n"+b, "\n"+line) {
				fmt.Fprint(&said, sign, line)
			}
		}
	}
	only("overlay: ", a, b)
	only("chart:   ", b, a)
	if said.Len() == 0 {
		return a + "and\n" + b
	}
	return said.String()
}
