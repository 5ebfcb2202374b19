package project

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/operator"
)

// parsed is what an isolde.yaml says, before it is completed.
type parsed struct {
	operator.Deployment
	image string // a reference, instead of an entry point
	path  string // of the file, for messages
	at    string // file:line:column of the entry point
}

// parse reads the text of an isolde.yaml. It touches no files.
func parse(path string, data []byte, getenv func(string) string) (parsed, error) {
	d := &decoder{path: path, getenv: getenv}
	f, err := parser.ParseBytes(data, 0)
	if err != nil {
		return parsed{}, d.syntaxError(err)
	}
	p := parsed{path: path, at: path}
	for i, doc := range f.Docs {
		switch {
		case doc.Body == nil:
		case i > 0:
			return parsed{}, d.errorf(doc.Body, "a second document; the file holds one agent")
		default:
			if err := d.project(doc.Body, &p); err != nil {
				return parsed{}, err
			}
			if p.image != "" && (len(p.Spec.Entrypoint) > 0 || p.Spec.Language != "") {
				return parsed{}, isolde.Errorf(isolde.CodeInvalid, "%s: image stands instead of entrypoint and language; an image says itself what it runs", path).
					WithHint("remove image, or the others")
			}
		}
	}
	return p, nil
}

// decoder walks the syntax tree itself, rather than decoding into a struct,
// so that every message can name the key, what was expected, and the place.
type decoder struct {
	path   string
	getenv func(string) string
}

func (d *decoder) project(n ast.Node, p *parsed) error {
	spec := &p.Spec
	return d.mapping(n, "the file", fields{
		"name":        d.name(&p.Name),
		"description": d.text(&spec.Description),
		"entrypoint": func(n ast.Node) error {
			p.at = d.place(n)
			return d.entrypoint(n, &spec.Entrypoint)
		},
		"image":       d.image(p),
		"language":    oneOf(d, &spec.Language, isolde.LanguagePython, isolde.LanguageNode, isolde.LanguageGo, isolde.LanguageCommand),
		"environment": func(n ast.Node) error { return d.environment(n, &spec.Environment) },
		"protocol":    oneOf(d, &spec.Protocol, isolde.ProtocolHTTP, isolde.ProtocolMCP, isolde.ProtocolA2A, isolde.ProtocolAGUI),
		"lifecycle":   func(n ast.Node) error { return d.lifecycle(n, &spec.Lifecycle) },
		"resources": func(n ast.Node) error {
			return d.mapping(n, "resources", fields{
				"cpus":      d.cpus(&spec.Resources.CPUs),
				"memory":    d.size(&spec.Resources.MemoryBytes),
				"processes": d.count(&spec.Resources.Processes),
				"disk":      d.size(&spec.Resources.DiskBytes),
				"storage":   d.size(&spec.Resources.StorageBytes),
			})
		},
		"limits":  func(n ast.Node) error { return d.limits(n, &spec.Limits) },
		"storage": d.storage(&spec.Filesystems),
		"mounts":  d.mounts(&spec.Mounts),
		"bindSessions": func(n ast.Node) error {
			spec.BindSessions = new(bool)
			return d.boolean(spec.BindSessions)(n)
		},
		"network": func(n ast.Node) error {
			return d.mapping(n, "network", fields{
				"egress": d.egress(&spec.Network),
			})
		},
	})
}

// fields are the keys of a mapping with what takes their values.
type fields map[string]func(ast.Node) error

// mapping gives every value to its field. Keys without a value are as if
// they were not there.
func (d *decoder) mapping(n ast.Node, what string, f fields) error {
	m, ok := n.(ast.MapNode)
	if !ok {
		return d.wrongType(n, what, "keys and values")
	}
	for it := m.MapRange(); it.Next(); {
		key := it.Key().GetToken()
		take, known := f[key.Value]
		if !known {
			err := d.errorf(it.Key(), "unknown key %q in %s", key.Value, what)
			names := slices.Sorted(maps.Keys(f))
			if near := nearest(key.Value, names); near != "" {
				return err.WithHint("did you mean %s?", near)
			}
			return err.WithHint("known keys: %s", strings.Join(names, ", "))
		}
		if v := it.Value(); v != nil && v.Type() != ast.NullType {
			if err := take(v); err != nil {
				return err
			}
		}
	}
	return nil
}

// scalar is the text of a plain value as it was written: PORT: 0080 is
// "0080".
func (d *decoder) scalar(n ast.Node, what string) (string, error) {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value, nil
	case *ast.LiteralNode:
		return n.Value.Value, nil
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		return n.GetToken().Value, nil
	}
	return "", d.wrongType(n, what, "text")
}

func (d *decoder) text(to *string) func(ast.Node) error {
	return func(n ast.Node) (err error) {
		*to, err = d.scalar(n, "the value")
		return err
	}
}

func (d *decoder) name(to *string) func(ast.Node) error {
	return func(n ast.Node) error {
		s, err := d.scalar(n, "name")
		if err != nil {
			return err
		}
		if err := isolde.ValidateName("agent name", s); err != nil {
			return d.errorf(n, "%s", isolde.AsError(err).Message).WithHint("for example: name: %s", isolde.SuggestName(s))
		}
		*to = s
		return nil
	}
}

func (d *decoder) entrypoint(n ast.Node, to *[]string) error {
	list, ok := n.(*ast.SequenceNode)
	if !ok {
		s, err := d.scalar(n, "entrypoint")
		if err != nil {
			return err
		}
		if strings.TrimSpace(s) == "" {
			return d.errorf(n, "entrypoint is empty")
		}
		*to = []string{s}
		return nil
	}
	for _, v := range list.Values {
		s, err := d.scalar(v, "a part of entrypoint")
		if err != nil {
			return err
		}
		*to = append(*to, s)
	}
	if len(*to) == 0 || strings.TrimSpace((*to)[0]) == "" {
		return d.errorf(n, "entrypoint is empty")
	}
	return nil
}

func (d *decoder) image(p *parsed) func(ast.Node) error {
	return func(n ast.Node) (err error) {
		p.image, err = d.scalar(n, "image")
		if err == nil && strings.TrimSpace(p.image) == "" {
			err = d.errorf(n, "image is empty").WithHint("for example: image: ghcr.io/me/agent:1, oci:./layout, or docker-archive:agent.tar")
		}
		return err
	}
}

// oneOf takes a word out of a few, in any case.
func oneOf[T ~string](d *decoder, to *T, words ...T) func(ast.Node) error {
	return func(n ast.Node) error {
		s, err := d.scalar(n, "the value")
		if err != nil {
			return err
		}
		var names []string
		for _, w := range words {
			if strings.EqualFold(s, string(w)) {
				*to = w
				return nil
			}
			names = append(names, string(w))
		}
		e := d.errorf(n, "%q is not one of %s", s, strings.Join(names, ", "))
		if near := nearest(s, names); near != "" {
			return e.WithHint("did you mean %s?", near)
		}
		return e
	}
}

// egress takes a policy's name, or a list of destinations.
func (d *decoder) egress(to *isolde.Network) func(ast.Node) error {
	return func(n ast.Node) error {
		list, ok := n.(*ast.SequenceNode)
		if !ok {
			return oneOf(d, &to.Egress, isolde.EgressInternet, isolde.EgressNone)(n)
		}
		to.Egress = isolde.EgressList
		for _, v := range list.Values {
			if v.Type() == ast.AliasType {
				return d.errorf(v, "a destination that begins with * must be in quotes").WithHint(`for example "*.example.com"`)
			}
			s, err := d.scalar(v, "a destination")
			if err != nil {
				return err
			}
			if _, err := isolde.ParseDestination(s); err != nil {
				e := isolde.AsError(err)
				return d.errorf(v, "%s", e.Message).WithHint("%s", e.Hint)
			}
			to.Allow = append(to.Allow, s)
		}
		if len(to.Allow) == 0 {
			return d.errorf(n, "egress is an empty list").WithHint("for no egress at all: egress: none")
		}
		return nil
	}
}

func (d *decoder) wrongType(n ast.Node, what, want string) *isolde.Error {
	switch n.Type() {
	case ast.AnchorType, ast.AliasType, ast.MergeKeyType, ast.TagType:
		return d.errorf(n, "anchors, aliases and tags are not supported").WithHint("write the value out")
	case ast.SequenceType:
		return d.errorf(n, "%s must be %s, not a list", what, want)
	case ast.MappingType, ast.MappingValueType:
		return d.errorf(n, "%s must be %s, not keys and values", what, want)
	}
	return d.errorf(n, "%s must be %s, not %q", what, want, n.GetToken().Value)
}

// place is file:line:column of a node.
func (d *decoder) place(n ast.Node) string {
	for {
		// A mapping's own token is its first colon; people look for its key.
		m, ok := n.(ast.MapNode)
		if !ok {
			break
		}
		it := m.MapRange()
		if !it.Next() {
			break
		}
		n = it.Key()
	}
	if tk := n.GetToken(); tk != nil && tk.Position != nil {
		return d.path + ":" + strconv.Itoa(tk.Position.Line) + ":" + strconv.Itoa(tk.Position.Column)
	}
	return d.path
}

func (d *decoder) errorf(n ast.Node, format string, args ...any) *isolde.Error {
	return isolde.Errorf(isolde.CodeInvalid, "%s: %s", d.place(n), fmt.Sprintf(format, args...))
}

func (d *decoder) syntaxError(err error) error {
	place, message := d.path, err.Error()
	if y, ok := errors.AsType[yaml.Error](err); ok {
		message = y.GetMessage()
		if tk := y.GetToken(); tk != nil && tk.Position != nil {
			place = fmt.Sprintf("%s:%d:%d", d.path, tk.Position.Line, tk.Position.Column)
		}
	}
	return isolde.Errorf(isolde.CodeInvalid, "%s: %s", place, message)
}
