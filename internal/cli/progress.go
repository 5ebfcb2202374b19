package cli

import (
	"fmt"
	"time"

	"github.com/isolde-run/isolde/image"
)

// progress shows the steps of a build: on a terminal one line that changes,
// and a line for each finished stage; elsewhere a line for each step.
type progress struct {
	t     *terminal
	stage string
	last  image.Progress
	begun time.Time
}

func newProgress(t *terminal) *progress { return &progress{t: t} }

// step takes the next step of the build.
func (p *progress) step(s image.Progress) {
	if !p.t.pretty {
		p.t.printf("%s", stepLine(s))
		return
	}
	if s.Stage != p.stage {
		p.finish()
		p.stage, p.begun = s.Stage, time.Now()
	}
	p.last = s
	p.t.status("… " + stepLine(s))
}

// finish ends the stage that is shown.
func (p *progress) finish() {
	if p.stage == "" {
		return
	}
	line := p.t.paint("32", "✓") + " " + stepLine(p.last)
	if took := time.Since(p.begun); took >= 100*time.Millisecond {
		line += " " + p.t.dim(seconds(took))
	}
	p.t.printf("%s", line)
	p.stage = ""
}

func stepLine(s image.Progress) string {
	line := fmt.Sprintf("%-12s %s", s.Stage, oneLine(s.Message))
	if s.Cached {
		line += " (cached)"
	}
	return line
}

// seconds is a short duration for people.
func seconds(d time.Duration) string { return fmt.Sprintf("%.1fs", d.Seconds()) }
