package shell

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/isolde-run/isolde"
)

// FuzzMessages reads any bytes as a message and its payload as all that it may
// be. What is accepted is what writing it makes.
func FuzzMessages(f *testing.F) {
	for _, m := range [][]byte{
		{},
		{0xFF},
		Frame(Stdin, []byte("ls\n")), Size{80, 24}.Frame(), []byte("\x04{\"width\":-1}"), Opened("a", true, 3).Frame(), Exited(137).Frame(),
		[]byte(`{"status":"Failure","details":{"causes":[{"reason":"ExitCode","message":"x"}]}}`),
	} {
		f.Add(m)
	}
	f.Fuzz(func(t *testing.T, m []byte) {
		c, payload, err := Parse(m)
		if err != nil {
			if isolde.CodeOf(err) != isolde.CodeInvalid || len(m) > 0 && len(m) <= MaxFrame {
				t.Fatalf("%d bytes: %v", len(m), err)
			}
			return
		}
		if got := Frame(c, payload); !bytes.Equal(got, m) {
			t.Errorf("% x became % x", m, got)
		}
		if size, err := ParseSize(payload); err == nil {
			if again, err := ParseSize(size.Frame()[1:]); err != nil || again != size || size.Width == 0 || size.Height == 0 {
				t.Errorf("%q is %+v, which is %+v, %v", payload, size, again, err)
			}
		}
		if s, err := ParseStatus(payload); err == nil {
			if again, err := ParseStatus(s.Frame()[1:]); err != nil || !cmp.Equal(again, s) {
				t.Errorf("%q is %+v, which is %+v, %v", payload, s, again, err)
			}
			_, _ = s.ExitCode()
		}
		if id, err := ParseID(string(payload)); err == nil && (len(id) > 128 || strings.ContainsAny(string(id), "?#&/\n ")) {
			t.Errorf("id %q", id)
		}
	})
}

// TestStatusesAsOnAWS compares with what the official SDK documents.
func TestStatusesAsOnAWS(t *testing.T) {
	for _, test := range []struct {
		status Status
		want   string
		code   int
		known  bool
	}{
		{Opened("sh-1", false, 0), `{"kind":"Status","apiVersion":"v1","metadata":{"shellId":"sh-1","reconnected":false},"status":"Success"}`, 0, true},
		{Opened("sh-1", true, 7), `{"kind":"Status","apiVersion":"v1","metadata":{"shellId":"sh-1","reconnected":true,"bytesDropped":7},"status":"Success"}`, 0, true},
		{Exited(0), `{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Success"}`, 0, true},
		{Exited(3), `{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","reason":"NonZeroExitCode","message":"command terminated with exit code 3","details":{"causes":[{"reason":"ExitCode","message":"3"}]}}`, 3, true},
		{Exited(137), `{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","reason":"NonZeroExitCode","message":"command terminated with exit code 137","details":{"causes":[{"reason":"ExitCode","message":"137"},{"reason":"Signal","message":"9"}]}}`, 137, true},
		{Failed("no shell"), `{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","reason":"InternalError","message":"no shell","code":500}`, 0, false},
	} {
		if diff := cmp.Diff("\x03"+test.want, string(test.status.Frame())); diff != "" {
			t.Error(diff)
		}
		if code, known := test.status.ExitCode(); code != test.code || known != test.known {
			t.Errorf("exit code %d, %v of %s", code, known, test.want)
		}
	}
}

func TestIDs(t *testing.T) {
	for _, id := range []string{"a", "9-_Z", strings.Repeat("x", 128), string(NewID())} {
		if _, err := ParseID(id); err != nil {
			t.Error(err)
		}
	}
	for _, id := range []string{"", "-a", "_a", "a b", "a\n", "ü", "a/b", strings.Repeat("x", 129)} {
		if _, err := ParseID(id); isolde.CodeOf(err) != isolde.CodeInvalid {
			t.Errorf("%q: %v", id, err)
		}
	}
}
