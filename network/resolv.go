package network

import (
	"bufio"
	"bytes"
	"net/netip"
	"os"
	"slices"
	"strings"
)

// Where a host's name servers are written down: the usual place, and where
// systemd-resolved tells the servers behind its own on loopback.
var resolvConfs = []string{"/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"}

// fallbackNameServers serve where the host tells none that a sandbox could
// reach.
var fallbackNameServers = []netip.Addr{netip.MustParseAddr("1.1.1.1"), netip.MustParseAddr("8.8.8.8")}

// NameServers are the host's name servers, as far as a sandbox can reach
// them: IPv4, at most three, those on loopback replaced by the real ones
// where systemd-resolved tells them. Where none is left it is 1.1.1.1 and
// 8.8.8.8.
func NameServers() []netip.Addr {
	for _, path := range resolvConfs {
		if found := readNameServers(path, reachable); len(found) > 0 {
			return found
		}
	}
	return fallbackNameServers
}

func reachable(a netip.Addr) bool { return a.Is4() && !a.IsLoopback() }

// ResolvConf is what /etc/resolv.conf in a sandbox says: the link's name
// servers and nothing of the host's search domains. Without name servers a
// lookup asks the sandbox's own loopback and so fails at once.
func (l *Link) ResolvConf() []byte {
	var b bytes.Buffer
	for _, a := range l.NameServers {
		b.WriteString("nameserver " + a.String() + "\n")
	}
	return b.Bytes()
}

// hostNameServers are what the host itself asks, also those on its loopback.
func hostNameServers() []netip.Addr {
	found := readNameServers(resolvConfs[0], func(netip.Addr) bool { return true })
	if len(found) == 0 {
		return fallbackNameServers
	}
	return found
}

func readNameServers(path string, use func(netip.Addr) bool) []netip.Addr {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	var found []netip.Addr
	for lines := bufio.NewScanner(f); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) < 2 || fields[0] != "nameserver" {
			continue
		}
		a, err := netip.ParseAddr(fields[1])
		if err == nil && !a.IsUnspecified() && use(a) && !slices.Contains(found, a) && len(found) < 3 {
			found = append(found, a)
		}
	}
	return found
}
