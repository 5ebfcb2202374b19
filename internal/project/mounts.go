package project

import (
	"path"

	"github.com/goccy/go-yaml/ast"

	"github.com/isolde-run/isolde"
)

// storage takes the path of a folder that sessions keep, or a list of such.
func (d *decoder) storage(to *[]isolde.Filesystem) func(ast.Node) error {
	return func(n ast.Node) error {
		values := []ast.Node{n}
		if list, ok := n.(*ast.SequenceNode); ok {
			values = list.Values
		}
		for _, v := range values {
			var at string
			if err := d.mountPath(&at)(v); err != nil {
				return err
			}
			*to = append(*to, isolde.Filesystem{Session: &isolde.SessionStorage{MountPath: at}})
		}
		return nil
	}
}

// mounts takes a list of the server's folders.
func (d *decoder) mounts(to *[]isolde.Mount) func(ast.Node) error {
	return func(n ast.Node) error {
		list, ok := n.(*ast.SequenceNode)
		if !ok {
			return d.errorf(n, "mounts must be a list").WithHint("for example: mounts: [{path: /mnt/models, folder: /srv/models, readonly: true}]")
		}
		for _, v := range list.Values {
			var m isolde.Mount
			err := d.mapping(v, "a mount", fields{
				"path":     d.mountPath(&m.Path),
				"folder":   d.folder(&m.Folder),
				"readonly": d.boolean(&m.ReadOnly),
			})
			if err != nil {
				return err
			}
			if m.Path == "" || m.Folder == "" {
				return d.errorf(v, "a mount needs path, in the session, and folder, on the server's machine")
			}
			*to = append(*to, m)
		}
		return nil
	}
}

func (d *decoder) mountPath(to *string) func(ast.Node) error {
	return func(n ast.Node) error {
		s, err := d.scalar(n, "the path")
		if err != nil {
			return err
		}
		if at := path.Clean(s); path.Dir(at) != "/mnt" {
			return d.errorf(n, "%q is not a folder below /mnt", s).WithHint("for example /mnt/data")
		}
		*to = s
		return nil
	}
}

func (d *decoder) folder(to *string) func(ast.Node) error {
	return func(n ast.Node) error {
		s, err := d.scalar(n, "folder")
		if err != nil {
			return err
		}
		if !path.IsAbs(s) {
			return d.errorf(n, "%q is not an absolute path on the server's machine", s)
		}
		*to = path.Clean(s)
		return nil
	}
}

func (d *decoder) boolean(to *bool) func(ast.Node) error {
	return func(n ast.Node) error {
		b, ok := n.(*ast.BoolNode)
		if !ok {
			return d.wrongType(n, "the value", "true or false")
		}
		*to = b.Value
		return nil
	}
}
