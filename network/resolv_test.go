package network

import (
	"os"
	"path/filepath"
	"testing"
)

func TestResolvConf(t *testing.T) {
	dir := t.TempDir()
	host, resolved := filepath.Join(dir, "resolv.conf"), filepath.Join(dir, "resolved.conf")
	defer func(old []string) { resolvConfs = old }(resolvConfs)
	resolvConfs = []string{host, resolved}

	for _, test := range []struct{ name, host, resolved, want string }{
		{"plain", "# a comment\nsearch corp.example\nnameserver 192.0.2.1\nnameserver 192.0.2.1\nnameserver 192.0.2.2 # second\n", "", "nameserver 192.0.2.1\nnameserver 192.0.2.2\n"},
		{"systemd-resolved", "nameserver 127.0.0.53\noptions edns0\n", "nameserver 198.51.100.1\n", "nameserver 198.51.100.1\n"},
		{"IPv6 only", "nameserver fe80::1%eth0\nnameserver 2001:db8::1\n", "", "nameserver 1.1.1.1\nnameserver 8.8.8.8\n"},
		{"four", "nameserver 192.0.2.1\nnameserver 192.0.2.2\nnameserver 192.0.2.3\nnameserver 192.0.2.4\n", "", "nameserver 192.0.2.1\nnameserver 192.0.2.2\nnameserver 192.0.2.3\n"},
		{"broken", "nameserver\nnameserver here\n", "", "nameserver 1.1.1.1\nnameserver 8.8.8.8\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if err := os.WriteFile(host, []byte(test.host), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(resolved, []byte(test.resolved), 0o600); err != nil {
				t.Fatal(err)
			}
			if got := string((&Link{NameServers: NameServers()}).ResolvConf()); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}
