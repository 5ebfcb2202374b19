package isolde

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Field is what is wrong with one field of a request.
type Field struct {
	Name    string `json:"name"` // its path in the API's words, e.g. "lifecycleConfiguration.maxLifetime"
	Message string `json:"message"`
}

// Problems collects what is wrong with the fields of a request, so that the
// caller hears of all at once.
type Problems struct{ fields []Field }

// Add adds a problem; the message completes a sentence that begins with the name.
func (p *Problems) Add(name, message string, args ...any) {
	p.fields = append(p.fields, Field{name, fmt.Sprintf(message, args...)})
}

// Length adds a problem unless the value has min to max characters.
func (p *Problems) Length(name, value string, min, max int) {
	if n := utf8.RuneCountInString(value); n == 0 && min > 0 {
		p.Add(name, "is missing")
	} else if n < min || n > max {
		p.Add(name, "has %d characters; %d to %d are allowed", n, min, max)
	}
}

// Err is nil if there are no problems, and otherwise an [Error] with
// CodeInvalid and the fields.
func (p *Problems) Err() error {
	if len(p.fields) == 0 {
		return nil
	}
	all := make([]string, len(p.fields))
	for i, f := range p.fields {
		all[i] = f.Name + " " + f.Message
	}
	e := Errorf(CodeInvalid, "%s", strings.Join(all, "; "))
	e.Fields = p.fields
	return e
}

// Join adds the fields of an error of Err's.
func (p *Problems) Join(err error) {
	if err != nil {
		p.fields = append(p.fields, AsError(err).Fields...)
	}
}
