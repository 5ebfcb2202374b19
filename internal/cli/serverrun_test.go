package cli

import (
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/isolde-run/isolde"
)

func TestServerFlagsAreChecked(t *testing.T) {
	good := serverOptions{logFormat: "text", logLevel: "info"}
	good.config.InitTimeout = time.Minute
	a := &app{err: newTerminal(io.Discard, func(string) string { return "" })}
	if o := good; o.complete(a) != nil {
		t.Errorf("good options: %v", o.complete(a))
	}
	for value, spoil := range map[string]func(*serverOptions){
		"-5s":  func(o *serverOptions) { o.config.InitTimeout = -5 * time.Second },
		"loud": func(o *serverOptions) { o.logLevel = "loud" },
		"xml":  func(o *serverOptions) { o.logFormat = "xml" },
	} {
		bad := good
		spoil(&bad)
		var err *isolde.Error
		if !errors.As(bad.complete(a), &err) || err.Code != isolde.CodeInvalid || !strings.Contains(err.Message, value) || strings.Contains(err.Hint, "`") {
			t.Errorf("%s: %v", value, err)
		}
	}
}
