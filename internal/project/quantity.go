package project

import (
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"

	"github.com/isolde-run/isolde"
)

func (d *decoder) lifecycle(n ast.Node, to *isolde.Lifecycle) error {
	err := d.mapping(n, "lifecycle", fields{
		"idleTimeout": d.seconds("idleTimeout", &to.IdleTimeout),
		"maxLifetime": d.seconds("maxLifetime", &to.MaxLifetime),
	})
	if err != nil {
		return err
	}
	if l := to.WithDefaults(); l.IdleTimeout > l.MaxLifetime {
		return d.errorf(n, "idleTimeout (%v) is longer than maxLifetime (%v)", l.IdleTimeout.Duration(), l.MaxLifetime.Duration())
	}
	return nil
}

// seconds takes "15m" or 900, within the bounds of the AgentCore limits page.
func (d *decoder) seconds(what string, to *isolde.Seconds) func(ast.Node) error {
	return func(n ast.Node) error {
		s, err := d.scalar(n, what)
		if err != nil {
			return err
		}
		v, err := time.ParseDuration(s)
		if i, ierr := strconv.Atoi(s); ierr == nil && i >= 0 && i <= math.MaxInt32 {
			v, err = isolde.Seconds(i).Duration(), nil
		}
		if err != nil || v%time.Second != 0 {
			return d.errorf(n, "%s %q is not a duration in whole seconds", what, s).WithHint("for example 15m, or 900")
		}
		if v < isolde.MinLifecycle.Duration() || v > isolde.MaxLifecycle.Duration() {
			return d.errorf(n, "%s is %v; it must be 1m to 8h", what, v)
		}
		*to = isolde.Seconds(v / time.Second)
		return nil
	}
}

func (d *decoder) cpus(to *float64) func(ast.Node) error {
	return func(n ast.Node) error {
		s, err := d.scalar(n, "cpus")
		if err != nil {
			return err
		}
		v, err := strconv.ParseFloat(s, 64)
		if err != nil || !(v > 0) || math.IsInf(v, 0) {
			return d.errorf(n, "cpus %q is not a number of cores", s).WithHint("for example 2, or 0.5")
		}
		*to = v
		return nil
	}
}

// limits are those of the agent's sessions together.
func (d *decoder) limits(n ast.Node, to *isolde.Limits) error {
	return d.mapping(n, "limits", fields{
		"sessions":             d.count(&to.Sessions),
		"newSessionsPerSecond": d.rate(&to.NewSessionsPerSecond),
		"requestsPerSecond":    d.rate(&to.RequestsPerSecond),
		"busyTimeout":          d.seconds("busyTimeout", &to.BusyTimeout),
	})
}

func (d *decoder) rate(to *float64) func(ast.Node) error {
	return func(n ast.Node) error {
		s, err := d.scalar(n, "the value")
		if err != nil {
			return err
		}
		v, err := strconv.ParseFloat(s, 64)
		if err != nil || !(v > 0) || math.IsInf(v, 0) {
			return d.errorf(n, "%q is not a number per second", s).WithHint("for example 10, or 0.5 for one in two seconds")
		}
		*to = v
		return nil
	}
}

func (d *decoder) count(to *int) func(ast.Node) error {
	return func(n ast.Node) error {
		s, err := d.scalar(n, "the value")
		if err != nil {
			return err
		}
		v, err := strconv.ParseInt(s, 10, 32)
		if err != nil || v <= 0 {
			return d.errorf(n, "%q is not a whole number above zero", s)
		}
		*to = int(v)
		return nil
	}
}

func (d *decoder) size(to *int64) func(ast.Node) error {
	return func(n ast.Node) error {
		s, err := d.scalar(n, "the value")
		if err != nil {
			return err
		}
		v, ok := ParseSize(s)
		if !ok {
			return d.errorf(n, "%q is not a size", s).WithHint("for example 8GiB, or 512MiB")
		}
		*to = v
		return nil
	}
}

// units are the multiples of a byte, by their first letter.
const units = "kmgt"

// ParseSize reads "8GiB", "8Gi", "1.5 GB", "512M" or a number of bytes, in
// any case. With an i the unit is a power of 1024, without one of 1000.
func ParseSize(s string) (int64, bool) {
	s = strings.ToLower(strings.TrimSpace(s))
	s = strings.TrimSuffix(s, "b")
	base := 1000.0
	if t, ok := strings.CutSuffix(s, "i"); ok {
		s, base = t, 1024
	}
	factor := 1.0
	if len(s) > 0 {
		if i := strings.IndexByte(units, s[len(s)-1]); i >= 0 {
			s, factor = s[:len(s)-1], math.Pow(base, float64(i+1))
		} else if base == 1024 {
			return 0, false
		}
	}
	v, err := strconv.ParseFloat(strings.TrimSpace(s), 64)
	if v *= factor; err != nil || !(v >= 1) || v >= math.MaxInt64 {
		return 0, false
	}
	return int64(v), true
}
