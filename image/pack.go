package image

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

func pack(w io.Writer, dir string) error {
	out := tar.NewWriter(w)
	var modules []localModule
	err := walkSource(dir, func(e sourceEntry) (err error) {
		if e.name == "go.mod" && e.mode.IsRegular() {
			modules, err = packGoMod(out, dir, e)
		} else {
			err = packEntry(out, e)
		}
		if err != nil {
			return fmt.Errorf("pack %s: %w", e.name, err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := packLocalModules(out, modules); err != nil {
		return err
	}
	return out.Close()
}

func packEntry(out *tar.Writer, e sourceEntry) (err error) {
	header := &tar.Header{Name: e.name, Mode: int64(e.mode.Perm()), ModTime: epoch}
	switch e.mode.Type() {
	case fs.ModeDir:
		header.Typeflag, header.Name = tar.TypeDir, e.name+"/"
		return out.WriteHeader(header)
	case fs.ModeSymlink:
		header.Typeflag, header.Linkname = tar.TypeSymlink, e.target
		return out.WriteHeader(header)
	}
	in, err := os.Open(e.file)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	header.Typeflag, header.Size = tar.TypeReg, info.Size()
	if err := out.WriteHeader(header); err != nil {
		return err
	}
	_, err = io.CopyN(out, in, info.Size()) // a file that shrinks meanwhile is an error
	return err
}
