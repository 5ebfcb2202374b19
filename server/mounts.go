package server

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/catalog"
)

// allowedMounts checks the folders that agents may see. What the server keeps
// is never among them.
func (s *Server) allowedMounts() ([]catalog.AllowedFolder, error) {
	data, err := filepath.EvalSymlinks(s.cfg.DataDir)
	if err != nil {
		return nil, err
	}
	if data, err = filepath.Abs(data); err != nil {
		return nil, err
	}
	for _, m := range s.cfg.AllowMounts {
		info, err := os.Stat(m.Folder)
		switch {
		case !filepath.IsAbs(m.Folder) || filepath.Clean(m.Folder) != m.Folder:
			return nil, isolde.Errorf(isolde.CodeInvalid, "the folder %q to mount is not an absolute path", m.Folder)
		case err != nil:
			return nil, isolde.Errorf(isolde.CodeInvalid, "the folder %s to mount cannot be used: %w", m.Folder, err)
		case !info.IsDir():
			return nil, isolde.Errorf(isolde.CodeInvalid, "%s, to be mounted, is not a folder", m.Folder)
		}
		real, err := filepath.EvalSymlinks(m.Folder)
		if err != nil {
			return nil, err
		}
		if within(data, real) || within(real, data) {
			return nil, isolde.Errorf(isolde.CodeInvalid, "agents must not see the folder %s: the server keeps its own data in %s", m.Folder, data).
				WithHint("allow the folders in it that they need, one by one")
		}
	}
	return s.cfg.AllowMounts, nil
}

// within tells whether a path is a folder or below it.
func within(path, folder string) bool {
	rel, err := filepath.Rel(folder, path)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, "../")
}
