package kubernetes_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pion/stun/v2"
	"github.com/pion/turn/v3"
	corev1 "k8s.io/api/core/v1"
)

// What every relay of the test shares, but for the demonstration, which needs none.
const (
	oldSecret = "end-to-end-one"
	newSecret = "end-to-end-two"
)

var deployed = map[string]string{ // workload of each overlay
	"host-network": "daemonset/hairpin", "load-balancer": "deployment/hairpin", "sidecar": "deployment/media", "demo": "deployment/one2one",
}

// TestCluster deploys each overlay as it is, and calls through it from outside. The parts build on each other, in the
// order in which an operator meets them.
func TestCluster(t *testing.T) {
	c := connect(t)
	if !t.Run("set up", func(t *testing.T) {
		c.clear(t)
		c.image(t, "hairpin:latest", root, "./cmd/hairpin", "serve")
		c.image(t, "hairpin-one2one:latest", root, "./cmd/one2one", "")
	}) {
		return
	}
	t.Cleanup(func() { c.clear(t) })
	c.nameServer(t)

	if !t.Run("server-side dry run", func(t *testing.T) { c.dryRun(t) }) {
		return
	}
	t.Run("Pod Security refuses what is not restricted", func(t *testing.T) {
		said, err := c.try(t.Context(), "", "-n", "hairpin", "run", "unsafe", "--image=hairpin:latest", "--dry-run=server")
		if err == nil || !strings.Contains(said, "violates PodSecurity") {
			t.Errorf("got %v: %s", err, said)
		}
	})
	for _, v := range variants[:4] {
		if !t.Run("roll out "+v.name, func(t *testing.T) { c.rollOut(t, v) }) {
			return
		}
	}
	node := c.node(t)
	balancer := map[string]string{}
	t.Run("nobody is let in without the Secret", func(t *testing.T) {
		_, err := probe(t.Context(), "turn:"+node+":3478", "--secret", oldSecret, "--count", "1")
		if err == nil || !strings.Contains(err.Error(), "401") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("secrets are taken over live", func(t *testing.T) {
		for _, namespace := range []string{"hairpin", "hairpin-host", "hairpin-sidecar"} {
			c.secret(t, namespace, oldSecret+"\n")
		}
		took := eventually(t, 3*time.Minute, "the Secret", func() error {
			_, err := probe(t.Context(), "turn:"+node+":3478", "--secret", oldSecret, "--count", "1")
			return err
		})
		c.figure(t, "a new Secret is in effect after %.0f s, without a restart", took.Seconds())
		for _, namespace := range []string{"hairpin", "hairpin-sidecar"} {
			for _, pod := range c.pods(t, namespace) {
				eventually(t, 3*time.Minute, "the Secret in "+pod.Name, func() error {
					said, err := c.try(t.Context(), "", "-n", namespace, "logs", pod.Name, "-c", "hairpin")
					if err == nil && strings.Count(said, "credentials were read again") == 0 {
						err = errors.New("not read again")
					}
					return err
				})
			}
		}
		for _, namespace := range []string{"hairpin", "hairpin-host", "hairpin-sidecar"} {
			for _, pod := range c.pods(t, namespace) {
				for _, status := range pod.Status.ContainerStatuses {
					if status.RestartCount != 0 {
						t.Errorf("%s/%s was restarted", namespace, pod.Name)
					}
				}
			}
		}
	})
	t.Run("load balancer addresses", func(t *testing.T) {
		balancer = c.balancers(t, map[string]string{"hairpin": "hairpin", "hairpin-sidecar": "media"})
	})

	t.Run("calls by the host network", func(t *testing.T) { c.calls(t, "host network", node, "3478", oldSecret) })
	t.Run("calls by the load balancer", func(t *testing.T) {
		if balancer["hairpin"] == "" {
			t.Skip("no load balancer here: HAIRPIN_TEST_BALANCER may have addresses to hand out")
		}
		c.calls(t, "load balancer", balancer["hairpin"], "3478", oldSecret)
	})
	t.Run("calls by a node port, with credentials of the ICE service", func(t *testing.T) {
		c.demonstration(t, node)
	})
	t.Run("the sidecar's clients reach the pod and nothing else", func(t *testing.T) {
		c.sidecar(t)
	})
	t.Run("calls between siblings", func(t *testing.T) { c.siblings(t) })
	t.Run("status inside a pod", func(t *testing.T) {
		said := c.run(t, "", "-n", "hairpin", "exec", "deployment/hairpin", "-c", "hairpin", "--", "/hairpin", "status", "--json")
		if !strings.Contains(said, `"listeners"`) {
			t.Errorf("got %s", said)
		}
	})
	t.Run("a second copy on a node waits, and runs with other ports", func(t *testing.T) { c.secondCopy(t) })
	t.Run("rolling update under a live call", func(t *testing.T) {
		if balancer["hairpin"] == "" {
			t.Skip("no load balancer here")
		}
		c.rollingUpdate(t, balancer["hairpin"])
	})
	t.Run("drain on delete", func(t *testing.T) { c.drainOnDelete(t, node) })
	t.Run("secrets rotate", func(t *testing.T) {
		c.secret(t, "hairpin-host", newSecret+"\n"+oldSecret+"\n")
		eventually(t, 3*time.Minute, "the rotated Secret", func() error {
			_, err := probe(t.Context(), "turn:"+node+":3478", "--secret", newSecret, "--count", "1")
			return err
		})
		if _, err := probe(t.Context(), "turn:"+node+":3478", "--secret", oldSecret, "--count", "1"); err != nil {
			t.Errorf("the old secret, still on the second line: %v", err)
		}
	})
	t.Run("coturn's client by the host network", func(t *testing.T) { c.uclient(t, "host network", node, "3478", oldSecret) })
	t.Run("coturn's client by the load balancer", func(t *testing.T) {
		if balancer["hairpin"] == "" {
			t.Skip("no load balancer here")
		}
		c.uclient(t, "load balancer", balancer["hairpin"], "3478", oldSecret)
	})
}

// clear removes what the test deployed, and waits until it is gone.
func (c *cluster) clear(t *testing.T) {
	t.Helper()
	namespaces := []string{"hairpin-copy"}
	for _, v := range variants[:4] {
		namespaces = append(namespaces, v.namespace)
	}
	remove := func(args ...string) {
		if _, err := c.try(context.Background(), "", append([]string{"delete", "--ignore-not-found"}, args...)...); err != nil {
			t.Error(err)
		}
	}
	for _, namespace := range namespaces { // nobody waits for calls that the test left: their pods end first, and at once
		remove("daemonsets,deployments", "--all", "--cascade=orphan", "-n", namespace)
		remove("replicasets", "--all", "--cascade=orphan", "-n", namespace)
		remove("pods", "--all", "--grace-period=1", "-n", namespace)
	}
	remove(append([]string{"namespace", "--timeout=120s"}, namespaces...)...)
}

func (c *cluster) node(t *testing.T) string {
	t.Helper()
	pods := c.pods(t, "hairpin-demo") // its Service is Local, so it has to be this node
	if address := os.Getenv("HAIRPIN_TEST_NODE"); address != "" {
		return address
	}
	return pods[0].Status.HostIP
}

func (c *cluster) dryRun(t *testing.T) {
	for _, v := range variants {
		text := c.render(t, v)
		c.run(t, namespaceOf(t, text), "apply", "-f", "-")
		var known []string
		for document := range strings.SplitSeq(text, "\n---\n") {
			if strings.Contains(document, "monitoring.coreos.com/") {
				if said, _ := c.try(t.Context(), "", "api-resources", "--api-group=monitoring.coreos.com", "-o", "name"); !strings.Contains(said, "servicemonitors") {
					t.Logf("%s: this cluster has no Prometheus operator: its kinds are left out", v.name)
					continue
				}
			}
			known = append(known, document)
		}
		said := c.run(t, strings.Join(known, "\n---\n"), "apply", "--dry-run=server", "-f", "-")
		if strings.Contains(said, "Warning") {
			t.Errorf("%s: %s", v.name, said)
		}
	}
}

func namespaceOf(t *testing.T, text string) string {
	for document := range strings.SplitSeq(text, "\n---\n") {
		if strings.Contains(document, "kind: Namespace") {
			return document
		}
	}
	t.Fatal("no namespace")
	return ""
}

func (c *cluster) rollOut(t *testing.T, v variant) {
	begun := time.Now()
	c.run(t, c.render(t, v), "apply", "-f", "-")
	c.run(t, "", "-n", v.namespace, "rollout", "status", deployed[v.overlay], "--timeout=120s")
	c.figure(t, "roll-out of %s: %.1f s", v.name, time.Since(begun).Seconds())
	if v.overlay == "load-balancer" { // the autoscaler has them made, one by one
		eventually(t, 2*time.Minute, "two relays", func() error {
			ready := 0
			for _, pod := range c.pods(t, v.namespace) {
				if isReady(pod) {
					ready++
				}
			}
			if ready < 2 {
				return fmt.Errorf("%d are ready", ready)
			}
			return nil
		})
		c.figure(t, "two relays by the autoscaler's minimum: after %.1f s", time.Since(begun).Seconds())
	}
}

func isReady(pod corev1.Pod) bool {
	return pod.DeletionTimestamp == nil && slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

// balancers returns the address of each namespace's Service: the one that the cluster gave, or one that is handed out here.
func (c *cluster) balancers(t *testing.T, services map[string]string) map[string]string {
	given := strings.FieldsFunc(os.Getenv("HAIRPIN_TEST_BALANCER"), func(r rune) bool { return r == ',' })
	found := map[string]string{}
	for namespace, service := range services {
		if len(given) > 0 {
			c.balance(t, namespace, service, given[0])
			found[namespace], given = given[0], given[1:]
			continue
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		said, err := c.try(ctx, "", "-n", namespace, "wait", "service/"+service, "--timeout=50s",
			"--for=jsonpath={.status.loadBalancer.ingress[0].ip}")
		cancel()
		if err != nil {
			t.Logf("no address for %s/%s: %s", namespace, service, said)
			continue
		}
		var s corev1.Service
		c.get(t, &s, "service", service, "-n", namespace)
		found[namespace] = s.Status.LoadBalancer.Ingress[0].IP
	}
	return found
}

var uclientTotals = regexp.MustCompile(`start_mclient: tot_send_msgs=(\d+), tot_recv_msgs=(\d+)\n`)

// calls are hairpin's own, over UDP and TCP.
func (c *cluster) calls(t *testing.T, way, host, port, secret string) {
	for _, transport := range []string{"udp", "tcp"} {
		uri := "turn:" + net.JoinHostPort(host, port) + "?transport=" + transport
		eventually(t, 30*time.Second, uri, func() error { // rules of a Service come a moment after it
			_, err := probe(t.Context(), uri, "--secret", secret, "--count", "1")
			return err
		})
		made, err := probe(t.Context(), uri, "--secret", secret, "--count", "200", "--interval", "5ms")
		if err != nil {
			t.Error(err)
		}
		c.figure(t, "%s, %s, hairpin probe: sent %d, received %d", way, transport, made.Packets.Sent, made.Packets.Received)
	}
}

// uclient is coturn's client. Some of its allocations it leaves to expire, so it comes after what waits for empty relays.
func (c *cluster) uclient(t *testing.T, way, host, port, secret string) {
	program, err := exec.LookPath("turnutils_uclient")
	if err != nil {
		t.Skip("SKIPPED: there is no turnutils_uclient (Debian: apt-get install coturn)")
	}
	for _, flags := range []string{"-y -c", "-y -c -t"} {
		args := append(strings.Fields(flags), "-W", secret, "-u", "someone", "-m", "5", "-n", "100", "-l", "200", "-z", "5", "-p", port, host)
		ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
		said, err := exec.CommandContext(ctx, program, args...).CombinedOutput()
		cancel()
		totals := uclientTotals.FindStringSubmatch(string(said))
		if err != nil || totals == nil || totals[1] != totals[2] || totals[1] == "0" {
			t.Errorf("turnutils_uclient %s: %v: %q\n%s", strings.Join(args, " "), err, totals, said)
			continue
		}
		c.figure(t, "%s, turnutils_uclient %s: sent %s, received %s", way, flags, totals[1], totals[2])
	}
}

// demonstration: what the ICE service gives out in the pod is good at the node's port.
func (c *cluster) demonstration(t *testing.T, node string) {
	said := c.run(t, "", "-n", "hairpin-demo", "exec", "deployment/one2one", "-c", "hairpin", "--", "/hairpin", "ice", "--username", "alice",
		"--url", "turn:"+net.JoinHostPort(node, "30478")+"?transport=udp")
	match := regexp.MustCompile(`"username":\s*"([^"]+)",\s*"credential":\s*"([^"]+)"`).FindStringSubmatch(said)
	if match == nil {
		t.Fatalf("no credentials in %s", said)
	}
	for _, transport := range []string{"udp", "tcp"} {
		made, err := probe(t.Context(), "turn:"+net.JoinHostPort(node, "30478")+"?transport="+transport, "--user", match[1], "--password", match[2],
			"--count", "200", "--interval", "5ms")
		if err != nil {
			t.Error(err)
		}
		c.figure(t, "node port, %s, hairpin probe: sent %d, received %d", transport, made.Packets.Sent, made.Packets.Received)
	}
	conn, err := net.DialTimeout("tcp", net.JoinHostPort(node, "30443"), 10*time.Second)
	if err != nil {
		t.Fatalf("the page: %v", err)
	}
	conn.Close()
}

// client is one by pion/turn, over TCP through kubectl port-forward: it reaches one pod and no other.
func (c *cluster) client(t *testing.T, namespace, pod string) *turn.Client {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	forward := exec.CommandContext(ctx, c.kubectl, "-n", namespace, "port-forward", "pod/"+pod, ":3478")
	output, err := forward.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := forward.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cancel(); forward.Wait() })
	line, err := bufio.NewReader(output).ReadString('\n')
	local := regexp.MustCompile(`127\.0\.0\.1:\d+`).FindString(line)
	if err != nil || local == "" {
		t.Fatalf("kubectl port-forward: %q, %v", line, err)
	}
	conn, err := net.Dial("tcp", local)
	if err != nil {
		t.Fatal(err)
	}
	name, password, err := turn.GenerateLongTermCredentials(oldSecret, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	client, err := turn.NewClient(&turn.ClientConfig{
		TURNServerAddr: local, Conn: turn.NewSTUNConn(conn), Username: name, Password: password, Realm: "hairpin",
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close(); conn.Close() })
	if err := client.Listen(); err != nil {
		t.Fatal(err)
	}
	return client
}

func allocate(t *testing.T, client *turn.Client) net.PacketConn {
	t.Helper()
	relayed, err := client.Allocate()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { relayed.Close() })
	return relayed
}

// siblings: two clients, each on a relay of its own, reach each other's relayed addresses.
func (c *cluster) siblings(t *testing.T) {
	var ready []corev1.Pod
	for _, pod := range c.pods(t, "hairpin") {
		if isReady(pod) {
			ready = append(ready, pod)
		}
	}
	if len(ready) < 2 {
		t.Fatalf("%d relays", len(ready))
	}
	clients := [2]*turn.Client{c.client(t, "hairpin", ready[0].Name), c.client(t, "hairpin", ready[1].Name)}
	relayed := [2]net.PacketConn{allocate(t, clients[0]), allocate(t, clients[1])}
	for i, client := range clients {
		if host := relayed[i].LocalAddr().(*net.UDPAddr).IP.String(); host != ready[i].Status.PodIP {
			t.Errorf("relay %s hands out %s", ready[i].Status.PodIP, host)
		}
		peer := relayed[1-i].LocalAddr()
		eventually(t, 30*time.Second, "a permission for the sibling", func() error { return client.CreatePermission(peer) })
	}
	sent, received := 0, 0
	for i := range 200 {
		from, to := relayed[i%2], relayed[1-i%2]
		text := fmt.Sprint("packet ", i)
		if _, err := from.WriteTo([]byte(text), to.LocalAddr()); err != nil {
			t.Fatal(err)
		}
		sent++
		buffer := make([]byte, 100)
		to.SetReadDeadline(time.Now().Add(5 * time.Second))
		n, source, err := to.ReadFrom(buffer)
		if err != nil {
			t.Errorf("packet %d: %v", i, err)
			break
		}
		if string(buffer[:n]) != text || source.String() != from.LocalAddr().String() {
			t.Errorf("got %q from %s, not %q from %s", buffer[:n], source, text, from.LocalAddr())
		}
		received++
	}
	c.figure(t, "between two siblings: sent %d, received %d", sent, received)
	for _, forbidden := range []string{"10.96.0.1:443", "127.0.0.1:9478", "169.254.169.254:80", ready[0].Status.HostIP + ":10250"} {
		address, err := net.ResolveUDPAddr("udp", forbidden)
		if err != nil {
			t.Fatal(err)
		}
		if err := clients[0].CreatePermission(address); err == nil || !strings.Contains(err.Error(), "403") {
			t.Errorf("a permission for %s: %v, not 403", forbidden, err)
		}
	}
}

// sidecar: the media server of the pod answers STUN through the relay; nothing else can be reached.
func (c *cluster) sidecar(t *testing.T) {
	pod := c.pods(t, "hairpin-sidecar")[0]
	client := c.client(t, "hairpin-sidecar", pod.Name)
	relayed := allocate(t, client)
	media := &net.UDPAddr{IP: net.ParseIP(pod.Status.PodIP), Port: 10000}
	if err := client.CreatePermission(media); err != nil {
		t.Fatal(err)
	}
	request := stun.MustBuild(stun.TransactionID, stun.BindingRequest)
	if _, err := relayed.WriteTo(request.Raw, media); err != nil {
		t.Fatal(err)
	}
	buffer := make([]byte, 1500)
	relayed.SetReadDeadline(time.Now().Add(5 * time.Second))
	n, _, err := relayed.ReadFrom(buffer)
	if err != nil {
		t.Fatalf("the media server does not answer: %v", err)
	}
	answer := stun.Message{Raw: buffer[:n]}
	var mapped stun.XORMappedAddress
	if err := errors.Join(answer.Decode(), mapped.GetFrom(&answer)); err != nil {
		t.Fatal(err)
	}
	if mapped.String() != relayed.LocalAddr().String() {
		t.Errorf("the media server sees %s, the relayed address is %s", mapped, relayed.LocalAddr())
	}
	c.figure(t, "sidecar: the media server at %s answers the client, and sees it at %s", media, mapped)
	for _, forbidden := range []string{"10.96.0.1", "127.0.0.1", "169.254.169.254", pod.Status.HostIP} {
		if err := client.CreatePermission(&net.UDPAddr{IP: net.ParseIP(forbidden), Port: 10000}); err == nil || !strings.Contains(err.Error(), "403") {
			t.Errorf("a permission for %s: %v, not 403", forbidden, err)
		}
	}
}

// secondCopy: the same overlay in another namespace has no room on a node until its ports are its own.
func (c *cluster) secondCopy(t *testing.T) {
	v := variants[0]
	v.namespace = "hairpin-copy"
	c.run(t, c.render(t, v, "kind: DaemonSet\nmetadata: {name: any}"), "apply", "-f", "-")
	eventually(t, time.Minute, "the scheduler's refusal", func() error {
		for _, pod := range c.pods(t, "hairpin-copy") {
			for _, condition := range pod.Status.Conditions {
				if condition.Type == corev1.PodScheduled && strings.Contains(condition.Message, "free ports") {
					return nil
				}
			}
		}
		return errors.New("none")
	})
	patch, err := os.ReadFile("testdata/other-ports.yaml")
	if err != nil {
		t.Fatal(err)
	}
	c.run(t, c.render(t, v, string(patch)), "apply", "-f", "-")
	c.run(t, "", "-n", "hairpin-copy", "rollout", "status", "daemonset/hairpin", "--timeout=60s")
}

// ongoing starts a call of some seconds, returns when it is under way, and how it can be waited for.
func ongoing(t *testing.T, ask func() int, uri string, seconds int) func() (call, error) {
	t.Helper()
	type outcome struct {
		call
		err error
	}
	ended := make(chan outcome, 1)
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	go func() { // ends with the call
		made, err := probe(ctx, uri, "--secret", oldSecret, "--interval", "10ms", "--count", fmt.Sprint(seconds*100))
		ended <- outcome{made, err}
	}()
	eventually(t, 20*time.Second, "the call", func() error {
		if ask() == 0 {
			return errors.New("no allocation yet")
		}
		return nil
	})
	return func() (call, error) { o := <-ended; return o.call, o.err }
}

// allocations counts those of a pod, by its own status command.
func (c *cluster) allocations(t *testing.T, namespace, pod string) int {
	said, err := c.try(t.Context(), "", "-n", namespace, "exec", pod, "-c", "hairpin", "--", "/hairpin", "status", "--json")
	if err != nil {
		return 0
	}
	return strings.Count(said, `"relay":`)
}

func (c *cluster) rollingUpdate(t *testing.T, balancer string) {
	var old []string
	for _, pod := range c.pods(t, "hairpin") {
		old = append(old, pod.Name)
	}
	wait := ongoing(t, func() (all int) {
		for _, pod := range old {
			all += c.allocations(t, "hairpin", pod)
		}
		return all
	}, "turn:"+balancer+":3478", 40)

	begun := time.Now()
	c.run(t, "", "-n", "hairpin", "rollout", "restart", "deployment/hairpin")
	c.run(t, "", "-n", "hairpin", "rollout", "status", "deployment/hairpin", "--timeout=60s")
	c.figure(t, "rolling update of two relays under a live call: new ones are ready after %.1f s", time.Since(begun).Seconds())
	carrying := func() (names []string) {
		for _, pod := range c.pods(t, "hairpin") {
			if slices.Contains(old, pod.Name) {
				names = append(names, pod.Name)
			}
		}
		return names
	}
	eventually(t, 20*time.Second, "the relay without a call ends", func() error {
		if left := carrying(); len(left) != 1 {
			return fmt.Errorf("%q are left", left)
		}
		return nil
	})
	fresh, err := probe(t.Context(), "turn:"+balancer+":3478", "--secret", oldSecret, "--count", "100")
	if err != nil {
		t.Errorf("a new call beside the old one: %v", err)
	}
	c.figure(t, "a new call during the update: sent %d, received %d", fresh.Packets.Sent, fresh.Packets.Received)
	if len(carrying()) != 1 {
		t.Error("the relay of the live call is gone")
	}
	made, err := wait()
	if err != nil {
		t.Errorf("the live call: %v", err)
	}
	c.figure(t, "the live call over the update: sent %d, received %d", made.Packets.Sent, made.Packets.Received)
	took := eventually(t, 30*time.Second, "the old relay ends with its last call", func() error {
		if left := carrying(); len(left) != 0 {
			return fmt.Errorf("%q are left", left)
		}
		return nil
	})
	c.figure(t, "the old relay ended %.1f s after its last call", took.Seconds())
}

func (c *cluster) drainOnDelete(t *testing.T, node string) {
	pod := c.pods(t, "hairpin-host")[0].Name
	wait := ongoing(t, func() int { return c.allocations(t, "hairpin-host", pod) }, "turn:"+node+":3478", 15)
	c.run(t, "", "-n", "hairpin-host", "delete", "pod", pod, "--wait=false")
	eventually(t, 20*time.Second, "new clients are sent away", func() error {
		_, err := probe(t.Context(), "turn:"+node+":3478", "--secret", oldSecret, "--count", "1", "--timeout", "2s")
		if err == nil {
			return errors.New("the relay that drains let somebody in")
		}
		return nil
	})
	made, err := wait()
	if err != nil {
		t.Errorf("the live call: %v", err)
	}
	c.figure(t, "the live call on a pod that was deleted: sent %d, received %d", made.Packets.Sent, made.Packets.Received)
	took := eventually(t, time.Minute, "the next relay on the node", func() error {
		_, err := probe(t.Context(), "turn:"+node+":3478", "--secret", oldSecret, "--count", "1", "--timeout", "2s")
		return err
	})
	c.figure(t, "the next relay on the node serves %.1f s after the last call", took.Seconds())
}
