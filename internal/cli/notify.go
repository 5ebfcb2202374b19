package cli

import "net"

// notify tells systemd about the server, as sd_notify(3) defines it: a
// datagram to the socket that NOTIFY_SOCKET names. Without one it does
// nothing, and an error is nobody's: systemd notices itself.
func notify(getenv func(string) string, state string) {
	name := getenv("NOTIFY_SOCKET")
	if name == "" {
		return
	}
	// A name that begins with @ is an abstract one, for systemd and Go alike.
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		return
	}
	defer conn.Close()
	conn.Write([]byte(state)) //nolint:errcheck // see above
}
