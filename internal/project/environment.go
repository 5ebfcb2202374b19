package project

import (
	"maps"
	"regexp"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"github.com/isolde-run/isolde"
)

var variableRE = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

func (d *decoder) environment(n ast.Node, to *map[string]string) error {
	m, ok := n.(ast.MapNode)
	if !ok {
		return d.wrongType(n, "environment", "keys and values")
	}
	*to = make(map[string]string)
	for it := m.MapRange(); it.Next(); {
		key := it.Key().GetToken().Value
		if !variableRE.MatchString(key) {
			return d.errorf(it.Key(), "%q cannot be the name of a variable", key).
				WithHint("letters, digits and underscores, not starting with a digit")
		}
		v := it.Value()
		if v == nil || v.Type() == ast.NullType {
			(*to)[key] = ""
			continue
		}
		s, err := d.scalar(v, key)
		if err != nil {
			return err
		}
		if (*to)[key], err = d.expand(v, s); err != nil {
			return err
		}
	}
	return nil
}

// expand replaces ${VAR} and ${VAR:-default} with variables of the shell that
// isolde runs in, and $$ with a dollar sign. Any other dollar sign stands for
// itself.
func (d *decoder) expand(n ast.Node, s string) (string, error) {
	var out strings.Builder
	for {
		before, rest, found := strings.Cut(s, "$")
		out.WriteString(before)
		if !found {
			return out.String(), nil
		}
		switch {
		case strings.HasPrefix(rest, "$"):
			out.WriteByte('$')
			s = rest[1:]
		case strings.HasPrefix(rest, "{"):
			inner, after, closed := strings.Cut(rest[1:], "}")
			if !closed {
				return "", d.errorf(n, "${ without its }").WithHint("write $$ for a dollar sign")
			}
			v, err := d.variable(n, inner)
			if err != nil {
				return "", err
			}
			out.WriteString(v)
			s = after
		default:
			out.WriteByte('$')
			s = rest
		}
	}
}

func (d *decoder) variable(n ast.Node, inner string) (string, error) {
	name, fallback, hasFallback := strings.Cut(inner, ":-")
	if !variableRE.MatchString(name) || strings.Contains(fallback, "${") {
		return "", d.errorf(n, "${%s} is not of the form ${VAR} or ${VAR:-default}", inner).WithHint("write $$ for a dollar sign")
	}
	if v := d.getenv(name); v != "" || hasFallback {
		if v == "" {
			v = fallback
		}
		return v, nil
	}
	return "", d.errorf(n, "the variable %s is not set", name).
		WithHint("export %s=…, or give a default: ${%s:-…}", name, name)
}

// MergeEnvironment adds "KEY=VALUE" settings of the command line to env, over
// what is there. A bare "KEY" takes the value from getenv.
func MergeEnvironment(env map[string]string, settings []string, getenv func(string) string) (map[string]string, error) {
	merged := make(map[string]string, len(env)+len(settings))
	maps.Copy(merged, env)
	for _, s := range settings {
		key, value, ok := strings.Cut(s, "=")
		if !variableRE.MatchString(key) {
			return nil, isolde.Errorf(isolde.CodeInvalid, "--env %q is not of the form KEY=VALUE", s)
		}
		if !ok {
			if value = getenv(key); value == "" {
				return nil, isolde.Errorf(isolde.CodeInvalid, "--env %s takes the value from your shell, where %s is not set", key, key).
					WithHint("write --env %s=VALUE", key)
			}
		}
		merged[key] = value
	}
	if len(merged) == 0 {
		return nil, nil
	}
	return merged, nil
}
