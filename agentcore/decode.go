package agentcore

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/isolde-run/isolde"
)

const (
	// maxBody bounds the body of a control-plane request, in bytes.
	maxBody = 1 << 20
	// maxSkipped is how much of a larger body is read all the same, so that
	// its sender reads the answer and not of a broken connection.
	maxSkipped = 16 << 20
)

// readBody reads a request's body, which is empty for operations without one.
func readBody(r *http.Request) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	if err != nil {
		return nil, isolde.Errorf(isolde.CodeMalformed, "the request's body broke off").WithCause(err)
	}
	if len(data) > maxBody {
		_, _ = io.CopyN(io.Discard, r.Body, maxSkipped)
		return nil, isolde.Errorf(isolde.CodeInvalid, "the request's body has more than %d bytes", maxBody)
	}
	return data, nil
}

// checker is the shape of a request's body, which knows what else its fields
// must hold.
type checker interface{ check(p *isolde.Problems) }

// decode reads a JSON body into a shape and checks it. The error has all that
// is wrong with it, CodeMalformed what is no JSON at all. unknown are members
// that the shape does not have; like AWS, Isolde ignores them.
//
// The shapes are structs whose json tags name the members as the API does. A
// member without omitempty is required.
func decode(data []byte, into checker) (unknown []string, err error) {
	object, err := parse(data)
	if err != nil {
		return nil, err
	}
	var d decoder
	d.structure("", object, reflect.ValueOf(into).Elem())
	var p isolde.Problems
	into.check(&p)
	return d.unknown, join(d.problems.Err(), p.Err())
}

// parse reads one JSON object; an empty text counts as {}.
func parse(data []byte) (map[string]any, error) {
	malformed := func(format string, args ...any) error {
		return isolde.Errorf(isolde.CodeMalformed, "the request's body is not a JSON object: "+format, args...)
	}
	if len(bytes.TrimSpace(data)) == 0 {
		return nil, nil
	}
	if !utf8.Valid(data) {
		return nil, malformed("it is not UTF-8")
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, malformed("it breaks off after %d bytes", len(data))
		}
		return nil, malformed("%w at byte %d", err, dec.InputOffset())
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, malformed("something follows it at byte %d", dec.InputOffset())
	}
	object, ok := v.(map[string]any)
	if !ok {
		return nil, malformed("it is %s", kindOf(v))
	}
	return object, nil
}

// maxProblems bounds how many problems of a request are told.
const maxProblems = 100

// join makes one error of what a body's shape and what its values break. What
// was not read is not said to be wrong a second time.
func join(shape, values error) error {
	var all isolde.Problems
	n := 0
	add := func(f isolde.Field) {
		if n++; n <= maxProblems {
			all.Add(f.Name, "%s", f.Message)
		}
	}
	reported := isolde.AsError(shape).Fields
	for _, f := range reported {
		add(f)
	}
	reported = reported[:min(len(reported), maxProblems)]
	for _, f := range isolde.AsError(values).Fields {
		if !slices.ContainsFunc(reported, func(r isolde.Field) bool { return sameField(r.Name, f.Name) }) {
			add(f)
		}
	}
	err := all.Err()
	if n > maxProblems {
		e := isolde.AsError(err)
		e.Message = fmt.Sprintf("%s; and %d more", e.Message, n-maxProblems)
	}
	return err
}

// sameField reports whether a problem of a field that was read follows from
// one of the shape: it is of the same field, of a part of it, or of the list
// item it is a part of.
func sameField(shape, value string) bool {
	within := func(a, b string) bool {
		rest, ok := strings.CutPrefix(a, b)
		return ok && (rest == "" || rest[0] == '.' || rest[0] == '[')
	}
	return within(value, shape) || strings.HasSuffix(value, "]") && within(shape, value)
}

// decoder fills values from JSON and collects what does not fit.
type decoder struct {
	problems isolde.Problems
	unknown  []string
}

// member is a field of a shape.
type member struct {
	name     string
	index    []int
	required bool
}

func membersOf(t reflect.Type) []member {
	var all []member
	for _, f := range reflect.VisibleFields(t) {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name != "" {
			all = append(all, member{name, f.Index, options == ""})
		}
	}
	return all
}

func (d *decoder) structure(path string, in map[string]any, out reflect.Value) {
	members, given := membersOf(out.Type()), 0
	rest := maps.Clone(in)
	for _, m := range members {
		v := in[m.name]
		delete(rest, m.name)
		name := strings.TrimPrefix(path+"."+m.name, ".")
		switch {
		case v != nil: // null is the same as nothing
			given++
			if v == "" {
				d.problems.Add(name, "is empty")
			}
			d.value(name, v, out.FieldByIndex(m.index))
		case m.required && !unions[out.Type()]:
			d.problems.Add(name, "is missing")
		}
	}
	unknown := slices.Sorted(maps.Keys(rest))
	switch {
	case !unions[out.Type()]:
		for _, name := range unknown {
			d.unknown = append(d.unknown, strings.TrimPrefix(path+"."+name, "."))
		}
	case len(unknown) > 0:
		d.problems.Add(path, "must be one of %s; %s is none", names(members), shorten(unknown[0]))
	case given != 1:
		d.problems.Add(path, "must have one of %s; it has %d", names(members), given)
	}
}

func names(members []member) string {
	var all []string
	for _, m := range members {
		all = append(all, m.name)
	}
	return strings.Join(all, ", ")
}

func (d *decoder) value(path string, in any, out reflect.Value) {
	switch out.Kind() {
	case reflect.Pointer:
		out.Set(reflect.New(out.Type().Elem()))
		d.value(path, in, out.Elem())
	case reflect.Struct:
		if v, ok := is[map[string]any](d, path, in, "an object"); ok {
			d.structure(path, v, out)
		}
	case reflect.Map:
		if v, ok := is[map[string]any](d, path, in, "an object"); ok {
			d.entries(path, v, out)
		}
	case reflect.Slice:
		if v, ok := is[[]any](d, path, in, "an array"); ok {
			out.Set(reflect.MakeSlice(out.Type(), len(v), len(v)))
			for i, item := range v {
				d.value(fmt.Sprintf("%s[%d]", path, i), item, out.Index(i))
			}
		}
	case reflect.String:
		if v, ok := is[string](d, path, in, "a string"); ok {
			out.SetString(v)
		}
	case reflect.Bool:
		if v, ok := is[bool](d, path, in, "true or false"); ok {
			out.SetBool(v)
		}
	case reflect.Int:
		if v, ok := is[json.Number](d, path, in, "a whole number"); ok {
			n, err := strconv.ParseInt(v.String(), 10, 32)
			if err != nil {
				d.problems.Add(path, "must be a whole number of 32 bits, not %s", shorten(v.String()))
			}
			out.SetInt(n)
		}
	default:
		panic(fmt.Sprintf("shape of %s holds a %s", path, out.Type())) // the API has no others
	}
}

func (d *decoder) entries(path string, in map[string]any, out reflect.Value) {
	out.Set(reflect.MakeMapWithSize(out.Type(), len(in)))
	for _, key := range slices.Sorted(maps.Keys(in)) {
		v := reflect.New(out.Type().Elem()).Elem()
		d.value(path+"."+shorten(key), in[key], v)
		out.SetMapIndex(reflect.ValueOf(key), v)
	}
}

func is[T any](d *decoder, path string, in any, want string) (T, bool) {
	v, ok := in.(T)
	if !ok {
		d.problems.Add(path, "must be %s, not %s", want, kindOf(in))
	}
	return v, ok
}

func kindOf(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case bool:
		return "a boolean"
	case string:
		return "a string"
	case json.Number:
		return "a number"
	case []any:
		return "an array"
	default:
		return "an object"
	}
}

// shorten keeps what a stranger sent from filling the answer.
func shorten(s string) string {
	if utf8.RuneCountInString(s) > 40 {
		return string([]rune(s)[:37]) + "..."
	}
	return s
}
