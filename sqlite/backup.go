package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/isolde-run/isolde"
)

// Backup writes a copy of the database, as it is at one moment, to a file
// that must not exist yet; its folder must. Changes go on meanwhile. The copy
// is durable when Backup returns nil; otherwise there is none. It is a
// database that [Open] opens, and holds all that this one holds: environment
// variables of agents, too, so only its owner may read it. CodeConflict if
// the file exists.
func (s *Store) Backup(ctx context.Context, path string) error {
	err := s.backup(ctx, path)
	if errors.Is(err, fs.ErrExist) {
		return isolde.Errorf(isolde.CodeConflict, "%s exists already", path).WithHint("name a file that does not exist").WithCause(err)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return isolde.Errorf(isolde.CodeInvalid, "the folder %s does not exist", filepath.Dir(path)).WithHint("create it first").WithCause(err)
	}
	return wrap("back up to "+path, err)
}

func (s *Store) backup(ctx context.Context, path string) error {
	if err := mustNotExist(path); err != nil {
		return err
	}
	// Under another name until it is whole.
	part, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*.part")
	if err != nil {
		return err
	}
	defer os.Remove(part.Name())
	defer part.Close()
	if err := s.vacuumInto(ctx, part.Name()); err != nil {
		return err
	}
	if err := part.Sync(); err != nil {
		return err
	}
	if err := mustNotExist(path); err != nil {
		return err
	}
	if err := os.Rename(part.Name(), path); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(path))
}

// vacuumInto copies with a connection of its own: those that read are bound
// to write nowhere, and the one that writes is not to wait.
func (s *Store) vacuumInto(ctx context.Context, path string) error {
	db, err := sql.Open("sqlite", source(s.path))
	if err != nil {
		return err
	}
	defer db.Close()
	_, err = db.ExecContext(ctx, `VACUUM INTO ?`, path)
	return err
}

func mustNotExist(path string) error {
	_, err := os.Lstat(path)
	if err == nil {
		return fmt.Errorf("%s: %w", path, fs.ErrExist)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// syncFolder makes the names in a folder durable.
func syncFolder(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
