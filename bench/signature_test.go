//go:build linux

package bench

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/auth"
)

// BenchmarkSignature measures what it costs that a call is signed: small ones
// and 100 MB up, by the side of the same calls to a server that asks nobody.
// "signed" is as boto3 and the SDK for Go sign, which do not tell the body's
// hash beforehand; "told" as the one for JavaScript does. Signing itself is not timed.
func BenchmarkSignature(b *testing.B) {
	for _, driver := range []string{"process", "gvisor"} {
		b.Run(driver, func(b *testing.B) { benchmarkSignature(b, driver) })
	}
}

func benchmarkSignature(b *testing.B, driver string) {
	key, err := auth.NewKey("bench", auth.AllRights...)
	if err != nil {
		b.Fatal(err)
	}
	open, asking := startServer(b, driver), startServerFor(b, driver, key)
	names := []string{"open", "signed", "told"}
	var clients []*client
	connect := func(s *server, path string) {
		c := dial(b, s.through(path, s.session(path).ID))
		b.Cleanup(c.close)
		clients = append(clients, c)
	}
	connect(open, open.deploy(benchAgent))
	path := asking.deploy(benchAgent)
	connect(asking, path)
	connect(asking, path)
	asking.profile()
	request := func(side int, body []byte) []byte {
		r := clients[side].request(body)
		if side > 0 {
			r = asking.sign(r, names[side] == "told")
		}
		return r
	}
	payload, back := make([]byte, isolde.MaxPayload), int64(len(fmt.Sprintf(`{"received":%d}`, isolde.MaxPayload)))
	small, large, buf := make([]series, len(names)), make([]series, len(names)), make([]byte, 256<<10)
	const calls = 200
	u := newBudget(40 * time.Second)
	for b.Loop() {
		if !u.round() {
			continue
		}
		inTurn(u.rounds, len(names), func(side int) {
			hello := request(side, hello)
			var took samples
			for range calls {
				d, err := clients[side].try(hello)
				if err != nil {
					b.Fatalf("%s: %v", names[side], err)
				}
				took.add(d)
			}
			small[side].round(took)
		})
		inTurn(u.rounds, len(names), func(side int) {
			d, err := clients[side].moveAll(request(side, payload), back, buf)
			if err != nil {
				b.Fatalf("%s: %v", names[side], err)
			}
			large[side].round(samples{float64(d)})
		})
	}
	noTime(b)
	b.ReportMetric(float64(u.rounds), "rounds")
	for side, name := range names {
		small[side].times(b, name+"-small", time.Microsecond)
		large[side].times(b, name+"-100MB", time.Millisecond)
		if side > 0 {
			b.ReportMetric(small[side].over(&small[0]), name+"/open-small")
			b.ReportMetric(large[side].over(&large[0]), name+"/open-100MB")
		}
	}
}

// sign signs a request with the server's key, with AWS's signer.
func (s *server) sign(request []byte, tell bool) []byte {
	s.b.Helper()
	req, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(request)))
	if err != nil {
		s.b.Fatal(err)
	}
	body, err := io.ReadAll(req.Body)
	if err != nil {
		s.b.Fatal(err)
	}
	hash := sha256.Sum256(body)
	sum := hex.EncodeToString(hash[:])
	if tell {
		req.Header.Set("X-Amz-Content-Sha256", sum)
	}
	req.URL.Scheme, req.URL.Host = "http", req.Host
	key := aws.Credentials{AccessKeyID: s.key.ID, SecretAccessKey: string(s.key.Secret)}
	if err := v4.NewSigner().SignHTTP(s.b.Context(), key, req, sum, "bedrock-agentcore", "us-east-1", time.Now()); err != nil {
		s.b.Fatal(err)
	}
	head, _, _ := bytes.Cut(request, []byte("\r\n\r\n"))
	for _, name := range []string{"X-Amz-Date", "X-Amz-Content-Sha256", "Authorization"} {
		if v := req.Header.Get(name); v != "" {
			head = fmt.Appendf(slices.Clip(head), "\r\n%s: %s", name, v)
		}
	}
	return append(append(head, "\r\n\r\n"...), body...)
}
