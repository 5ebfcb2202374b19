package jwt

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"time"
)

// The bounds of one answer of a provider.
const (
	fetchTimeout = 5 * time.Second
	maxDocument  = 1 << 20
)

// newClient makes a client for URLs that whoever may create agent runtimes
// chose, which must not make the server a way into the machine or its cloud.
// Redirects are not followed. Addresses of private networks are fine:
// providers live there.
func newClient() *http.Client {
	return &http.Client{
		Timeout: fetchTimeout,
		Transport: &http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			DialContext:            dial,
			ForceAttemptHTTP2:      true,
			DisableKeepAlives:      true, // it is asked once in a quarter of an hour
			MaxResponseHeaderBytes: 64 << 10,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// dial connects to the address that the host's name has, if that is allowed.
// The check is made after the name was resolved, so that no name can hide an address.
func dial(ctx context.Context, network, address string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	d := net.Dialer{Control: func(_, resolved string, _ syscall.RawConn) error { return checkDial(host, resolved) }}
	return d.DialContext(ctx, network, address)
}

// checkDial says whether a host may have the address that its name led to.
func checkDial(host, resolved string) error {
	at, err := netip.ParseAddrPort(resolved)
	if err != nil {
		return err
	}
	if at.Addr().Unmap().IsLoopback() && !isLoopback(host) {
		return fmt.Errorf("%s is on loopback", host)
	}
	return checkAddress(at.Addr())
}

// metadataServices are addresses, beside the link-local ones, where clouds
// tell machines their secrets.
var metadataServices = []netip.Addr{
	netip.MustParseAddr("fd00:ec2::254"),   // AWS
	netip.MustParseAddr("fd20:ce::254"),    // Google
	netip.MustParseAddr("100.100.100.200"), // Alibaba
	netip.MustParseAddr("168.63.129.16"),   // Azure
}

// nat64 are IPv6 addresses that stand for IPv4 ones (RFC 6052).
var nat64 = netip.MustParsePrefix("64:ff9b::/96")

func checkAddress(a netip.Addr) error {
	a = a.Unmap().WithZone("")
	if b := a.As16(); nat64.Contains(a) {
		a = netip.AddrFrom4([4]byte(b[12:]))
	}
	if a.IsLinkLocalUnicast() || a.IsMulticast() || a.IsUnspecified() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255}) ||
		slices.Contains(metadataServices, a) {
		return fmt.Errorf("address %s is not one of a provider", a)
	}
	return nil
}

// checkURL wants https, but on loopback.
func checkURL(text string) error {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return err
	case u.Host == "" || u.User != nil || u.Fragment != "":
		return fmt.Errorf("%q is not the URL of a document", text)
	case u.Scheme != "https" && (u.Scheme != "http" || !isLoopback(u.Hostname())):
		return fmt.Errorf("%q must begin with https://, or be on loopback", text)
	}
	if a, err := netip.ParseAddr(u.Hostname()); err == nil { // a proxy would resolve it for us
		return checkAddress(a)
	}
	return nil
}

func isLoopback(host string) bool {
	if host = strings.TrimSuffix(host, "."); host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.Unmap().IsLoopback()
}

// fetch gets a JSON document.
func fetch(ctx context.Context, client *http.Client, at string, into any) error {
	if err := checkURL(at); err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return err
	}
	r.Header.Set("Accept", "application/json")
	resp, err := client.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if to := resp.Header.Get("Location"); resp.StatusCode/100 == 3 {
		return fmt.Errorf("GET %s: redirects to %q, which is not followed", at, to)
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: %s", at, resp.Status)
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxDocument+1))
	switch {
	case err != nil:
		return fmt.Errorf("GET %s: %w", at, err)
	case len(text) > maxDocument:
		return fmt.Errorf("GET %s: over %d bytes", at, maxDocument)
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("GET %s: %w", at, err)
	}
	return nil
}
