package kubernetes_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	podsecurity "k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
)

// faults says what is wrong between the objects of one rendering.
type faults func(t *testing.T, all objects)

// TestManifests holds each rendering against the rules. What Kustomize and Helm yield is the same: TestChartYieldsTheSame.
func TestManifests(t *testing.T) {
	rules := map[string]faults{
		"what is referred to is there":           references,
		"labels select what they shall":          selections,
		"pods are as restricted as they can be":  restricted,
		"calls can end before the pod is killed": graces,
		"ports of policies are ports of pods":    policies,
		"memory has limits that Go knows":        limits,
		"metrics that are asked for exist":       metricNames,
	}
	for _, v := range variants {
		for name, rule := range rules {
			t.Run(v.name+"/"+name, func(t *testing.T) { rule(t, decode(t, v.kustomize(t))) })
		}
	}
}

func references(t *testing.T, all objects) {
	namespaces := of[*corev1.Namespace](all)
	if len(namespaces) != 1 {
		t.Fatalf("%d namespaces", len(namespaces))
	}
	for id, object := range all {
		if object.GetNamespace() != namespaces[0].Name && object != metav1.Object(namespaces[0]) {
			t.Errorf("%s is in namespace %q", id, object.GetNamespace())
		}
	}
	for _, scaler := range of[*autoscalingv2.HorizontalPodAutoscaler](all) {
		target := scaler.Spec.ScaleTargetRef
		deployment, ok := all[target.Kind+" "+target.Name].(*appsv1.Deployment)
		if !ok {
			t.Errorf("the autoscaler's %s %s is not there", target.Kind, target.Name)
		} else if deployment.Spec.Replicas != nil {
			t.Errorf("%s names the replicas that are the autoscaler's to say", deployment.Name)
		}
	}
	for _, w := range all.workloads() {
		pod := w.template.Spec
		if all["ServiceAccount "+pod.ServiceAccountName] == nil {
			t.Errorf("%s: no ServiceAccount %q", w.id, pod.ServiceAccountName)
		}
		volumes := map[string]bool{}
		for _, volume := range pod.Volumes {
			volumes[volume.Name] = true
			if volume.ConfigMap != nil && all["ConfigMap "+volume.ConfigMap.Name] == nil {
				t.Errorf("%s: no ConfigMap %q", w.id, volume.ConfigMap.Name)
			}
		}
		for _, container := range pod.Containers {
			for _, mount := range container.VolumeMounts {
				if !volumes[mount.Name] {
					t.Errorf("%s: container %s mounts %q, which is no volume", w.id, container.Name, mount.Name)
				}
				if !mount.ReadOnly {
					t.Errorf("%s: container %s can write to %s", w.id, container.Name, mount.MountPath)
				}
			}
		}
	}
}

func selections(t *testing.T, all objects) {
	matches := func(selector *metav1.LabelSelector, w workload) bool {
		s, err := metav1.LabelSelectorAsSelector(selector)
		return err == nil && s.Matches(labels.Set(w.template.Labels))
	}
	one := func(what string, is func(workload) bool) *corev1.PodSpec {
		var found []string
		var pod *corev1.PodSpec
		for _, w := range all.workloads() {
			if is(w) {
				found, pod = append(found, w.id), &w.template.Spec
			}
		}
		if len(found) != 1 {
			t.Errorf("%s selects %q, not one workload", what, found)
		}
		return pod
	}
	for _, w := range all.workloads() {
		one(w.id, func(other workload) bool { return matches(w.selector, other) })
	}
	for _, p := range of[*networkingv1.NetworkPolicy](all) {
		one("NetworkPolicy "+p.Name, func(w workload) bool { return matches(&p.Spec.PodSelector, w) })
	}
	for _, p := range of[*policyv1.PodDisruptionBudget](all) {
		one("PodDisruptionBudget "+p.Name, func(w workload) bool { return matches(p.Spec.Selector, w) })
	}
	for _, s := range of[*corev1.Service](all) {
		pod := one("Service "+s.Name, func(w workload) bool {
			return labels.SelectorFromSet(s.Spec.Selector).Matches(labels.Set(w.template.Labels))
		})
		for _, port := range s.Spec.Ports {
			if pod != nil && !slices.ContainsFunc(ports(pod), func(p corev1.ContainerPort) bool {
				return p.Name == port.TargetPort.StrVal && p.Protocol == port.Protocol
			}) {
				t.Errorf("Service %s: the pods have no port %s/%s", s.Name, port.TargetPort.StrVal, port.Protocol)
			}
		}
	}
	for _, m := range of[*serviceMonitor](all) {
		var ports []string
		for _, s := range of[*corev1.Service](all) {
			if labels.SelectorFromSet(m.Spec.Selector.MatchLabels).Matches(labels.Set(s.Labels)) {
				for _, port := range s.Spec.Ports {
					ports = append(ports, port.Name)
				}
			}
		}
		if !slices.Contains(ports, m.Spec.Endpoints[0].Port) {
			t.Errorf("ServiceMonitor %s: the Services that it selects have the ports %q", m.Name, ports)
		}
	}
}

func ports(pod *corev1.PodSpec) (all []corev1.ContainerPort) {
	for _, container := range pod.Containers {
		all = append(all, container.Ports...)
	}
	return all
}

// restricted asks Pod Security itself. Host network is the one thing that it may object to, and then the namespace allows it.
func restricted(t *testing.T, all objects) {
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks())
	if err != nil {
		t.Fatal(err)
	}
	namespace := of[*corev1.Namespace](all)[0]
	for _, w := range all.workloads() {
		pod := w.template.Spec
		want := podsecurity.LevelRestricted
		if pod.HostNetwork {
			want = podsecurity.LevelPrivileged
		}
		if level := namespace.Labels[podsecurity.EnforceLevelLabel]; level != string(want) {
			t.Errorf("%s: the namespace enforces %q, not %q", w.id, level, want)
		}
		var objections []string
		level := podsecurity.LevelVersion{Level: podsecurity.LevelRestricted, Version: podsecurity.LatestVersion()}
		for _, result := range evaluator.EvaluatePod(level, &w.template.ObjectMeta, &pod) {
			if !result.Allowed && !(pod.HostNetwork && result.ForbiddenReason == "host namespaces") && !(pod.HostNetwork && result.ForbiddenReason == "hostPort") {
				objections = append(objections, result.ForbiddenReason+": "+result.ForbiddenDetail)
			}
		}
		for _, objection := range objections {
			t.Errorf("%s: %s", w.id, objection)
		}
		switch {
		case pod.EnableServiceLinks == nil || *pod.EnableServiceLinks:
			t.Errorf("%s: Services become variables", w.id)
		case pod.AutomountServiceAccountToken == nil || *pod.AutomountServiceAccountToken:
			t.Errorf("%s: gets a token for the API server", w.id)
		case pod.HostNetwork != (pod.DNSPolicy == corev1.DNSClusterFirstWithHostNet):
			t.Errorf("%s: the DNS policy is %q", w.id, pod.DNSPolicy)
		}
		for _, container := range pod.Containers {
			if s := container.SecurityContext; s.ReadOnlyRootFilesystem == nil || !*s.ReadOnlyRootFilesystem {
				t.Errorf("%s: container %s can write to its root", w.id, container.Name)
			}
		}
	}
}

// graces: the relay's own deadline comes before the kubelet's, and so does what the preStop hook waits for.
func graces(t *testing.T, all objects) {
	for _, w := range all.workloads() {
		for _, container := range w.template.Spec.Containers {
			if container.Name != "hairpin" {
				continue
			}
			drain, err := time.ParseDuration(variable(container, "HAIRPIN_DRAIN_TIMEOUT"))
			if err != nil {
				t.Fatal(err)
			}
			grace := time.Duration(*w.template.Spec.TerminationGracePeriodSeconds) * time.Second
			if drain+10*time.Second > grace {
				t.Errorf("%s: %s to drain, %s until it is killed", w.id, drain, grace)
			}
			if hook := container.Lifecycle.PreStop.Exec.Command; !slices.Equal(hook, []string{"/hairpin", "drain"}) {
				t.Errorf("%s: preStop is %q", w.id, hook)
			}
			// With /readyz, kube-proxy would forget the flows of a pod that drains: see base/relay/pod.yaml.
			if path := container.ReadinessProbe.HTTPGet.Path; path != "/healthz" {
				t.Errorf("%s: ready is %s", w.id, path)
			}
		}
	}
}

func variable(container corev1.Container, name string) string {
	for _, v := range container.Env {
		if v.Name == name {
			return v.Value
		}
	}
	return ""
}

func policies(t *testing.T, all objects) {
	for _, p := range of[*networkingv1.NetworkPolicy](all) {
		for _, w := range all.workloads() {
			if !labels.SelectorFromSet(p.Spec.PodSelector.MatchLabels).Matches(labels.Set(w.template.Labels)) {
				continue
			}
			if w.template.Spec.HostNetwork {
				t.Errorf("%s has the node's network, where policies do not reach", w.id)
			}
			for _, rule := range p.Spec.Ingress {
				for _, port := range rule.Ports {
					relayed := port.EndPort != nil && port.Port.IntVal == 49152 && *port.EndPort == 65535
					if !relayed && !slices.ContainsFunc(ports(&w.template.Spec), func(c corev1.ContainerPort) bool {
						return c.ContainerPort == port.Port.IntVal && c.Protocol == *port.Protocol
					}) {
						t.Errorf("%s: port %s/%s of policy %s is no pod's", w.id, port.Port, *port.Protocol, p.Name)
					}
				}
			}
		}
	}
}

func limits(t *testing.T, all objects) {
	for _, w := range all.workloads() {
		for _, container := range w.template.Spec.Containers {
			limit := container.Resources.Limits.Memory()
			if limit.IsZero() || container.Resources.Requests.Memory().IsZero() || container.Resources.Requests.Cpu().IsZero() {
				t.Errorf("%s: container %s lacks a request or a limit", w.id, container.Name)
			}
			if !container.Resources.Limits.Cpu().IsZero() {
				t.Errorf("%s: container %s is held back", w.id, container.Name)
			}
			if container.Name != "hairpin" {
				continue
			}
			known, err := parseQuantity(strings.TrimSuffix(variable(container, "GOMEMLIMIT"), "B"))
			if err != nil || known < limit.Value()*8/10 || known > limit.Value()*9/10 {
				t.Errorf("%s: GOMEMLIMIT %q, the limit is %s (%v)", w.id, variable(container, "GOMEMLIMIT"), limit, err)
			}
		}
	}
}

// metricNames: what the rules and the autoscaler ask for is what the relay has from its start on.
func metricNames(t *testing.T, all objects) {
	exposed, err := os.ReadFile(filepath.Join(root, "metrics", "testdata", "start.txt"))
	if err != nil {
		t.Fatal(err)
	}
	ask := func(where, name string) {
		if !strings.Contains(string(exposed), "\n# TYPE "+name+" ") {
			t.Errorf("%s: there is no metric %s", where, name)
		}
	}
	for _, scaler := range of[*autoscalingv2.HorizontalPodAutoscaler](all) {
		for _, metric := range scaler.Spec.Metrics {
			ask("autoscaler", metric.Pods.Metric.Name)
		}
	}
	name, histogram := regexp.MustCompile(`hairpin_\w+`), regexp.MustCompile(`_(bucket|count|sum)$`)
	reasons := regexp.MustCompile(`(hairpin_\w+)\{reason=~"([\w|]+)"`)
	for _, rules := range of[*prometheusRule](all) {
		for _, group := range rules.Spec.Groups {
			for _, rule := range group.Rules {
				found := name.FindAllString(rule.Expr, -1)
				if len(found) == 0 && !strings.Contains(rule.Expr, "hairpin:") { // what is recorded
					t.Errorf("alert %s asks for nothing of ours", rule.Alert)
				}
				for _, metric := range found {
					ask("alert "+rule.Alert, histogram.ReplaceAllString(metric, ""))
				}
				for _, match := range reasons.FindAllStringSubmatch(rule.Expr, -1) {
					for reason := range strings.SplitSeq(match[2], "|") {
						if !strings.Contains(string(exposed), "\n"+match[1]+`{reason="`+reason+`"}`) {
							t.Errorf("alert %s: %s has no reason %s", rule.Alert, match[1], reason)
						}
					}
				}
			}
		}
	}
}
