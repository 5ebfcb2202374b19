package agent

import (
	"encoding"
	"encoding/json"
	"reflect"
	"strings"
	"sync"
)

var (
	blobType        = reflect.TypeFor[Blob]()
	unmarshalerType = reflect.TypeFor[json.Unmarshaler]()
	textType        = reflect.TypeFor[encoding.TextUnmarshaler]()
)

// settle is the type in which encoding/json decodes a value for t, without
// pointers, or nil if it is not known from here what it is decoded in: types
// with methods of their own, and interfaces.
func settle(t reflect.Type) reflect.Type {
	for t != nil && t != blobType {
		p := reflect.PointerTo(t)
		switch {
		case p.Implements(unmarshalerType), p.Implements(textType), t.Kind() == reflect.Interface:
			return nil
		case t.Kind() != reflect.Pointer:
			return t
		}
		t = t.Elem()
	}
	return t
}

// holding remembers of a type whether a Blob can be in its values.
var holding sync.Map

func holdsBlob(t reflect.Type) bool {
	if known, ok := holding.Load(t); ok {
		return known.(bool)
	}
	holds := findsBlob(t, make(map[reflect.Type]bool))
	holding.Store(t, holds)
	return holds
}

func findsBlob(t reflect.Type, seen map[reflect.Type]bool) bool {
	t = settle(t)
	if t == nil || seen[t] {
		return false
	}
	seen[t] = true
	switch t.Kind() {
	case reflect.Slice, reflect.Array, reflect.Map:
		return findsBlob(t.Elem(), seen)
	case reflect.Struct:
		if t == blobType {
			return true
		}
		for _, f := range fields(t) {
			if findsBlob(f.typ, seen) {
				return true
			}
		}
	}
	return false
}

// field is a member of an object as encoding/json knows it.
type field struct {
	name string
	typ  reflect.Type
}

var fieldsOf sync.Map // by struct type

// fields lists the members of a struct: its own before those of embedded
// structs.
func fields(t reflect.Type) []field {
	if known, ok := fieldsOf.Load(t); ok {
		return known.([]field)
	}
	var out []field
	seen := map[reflect.Type]bool{t: true}
	for queue := []reflect.Type{t}; len(queue) > 0; queue = queue[1:] {
		for i := range queue[0].NumField() {
			f := queue[0].Field(i)
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			embedded := f.Type
			if embedded.Kind() == reflect.Pointer {
				embedded = embedded.Elem()
			}
			switch {
			case f.Tag.Get("json") == "-":
			case f.Anonymous && name == "" && embedded.Kind() == reflect.Struct && embedded != blobType:
				if !seen[embedded] {
					seen[embedded] = true
					queue = append(queue, embedded)
				}
			case !f.IsExported():
			case name == "":
				out = append(out, field{f.Name, f.Type})
			default:
				out = append(out, field{name, f.Type})
			}
		}
	}
	fieldsOf.Store(t, out)
	return out
}

// fieldType is the type of the member that encoding/json decodes a name in,
// or nil.
func fieldType(t reflect.Type, name string) reflect.Type {
	var folded reflect.Type
	for _, f := range fields(t) {
		if f.name == name {
			return f.typ
		}
		if folded == nil && strings.EqualFold(f.name, name) {
			folded = f.typ
		}
	}
	return folded
}
