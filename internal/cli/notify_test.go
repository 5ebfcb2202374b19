package cli

import (
	"net"
	"path/filepath"
	"testing"
)

func TestNotify(t *testing.T) {
	name := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	notify(func(string) string { return name }, "READY=1")
	buf := make([]byte, 64)
	n, err := conn.Read(buf)
	if err != nil || string(buf[:n]) != "READY=1" {
		t.Errorf("systemd got %q, %v", buf[:n], err)
	}
	notify(func(string) string { return name + "-gone" }, "READY=1") // nobody there: no harm
	notify(func(string) string { return "" }, "READY=1")
}
