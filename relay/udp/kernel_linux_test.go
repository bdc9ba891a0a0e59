package udp

import "testing"

func TestKernelFaults(t *testing.T) {
	for text, faulty := range map[string]bool{
		"6.18.44-fc": false, "6.1.0-13-amd64": false, "7.0.0": true, "7.0-rc1": true, "7.0.12-generic": true, "7.1.4": true,
		"7.1.5": false, "7.1.4+deb13-amd64": true, "7.2.0": false, "8.0": false, "": false, "unknown": false,
	} {
		if got := faultOf(text); (got != "") != faulty {
			t.Errorf("%q: %q", text, got)
		}
	}
}
