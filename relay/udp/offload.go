package udp

// Offload says what of the kernel's batching of datagrams is used. The zero value is none of it.
type Offload struct {
	GRO bool // take several datagrams of one sender as one (UDP_GRO, Linux 5.0)
	GSO bool // send several datagrams to one client as one (UDP_SEGMENT, Linux 4.18)
}

// String lists what is on, as the option of the command line spells it.
func (o Offload) String() string {
	switch o {
	case Offload{GRO: true, GSO: true}:
		return "gro,gso"
	case Offload{GRO: true}:
		return "gro"
	case Offload{GSO: true}:
		return "gso"
	}
	return "off"
}

// Offload tells what is in use, and why GSO was given up, or limited to small segments for some, if it was.
func (c *Conn) Offload() (Offload, error) { return c.offload.inUse() }
