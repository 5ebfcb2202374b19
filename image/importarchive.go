package image

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/isolde-run/isolde"
)

// dockerArchive is a tar as docker save writes it.
type dockerArchive struct {
	ref      string
	file     *os.File
	sections map[string]section
	links    map[string]string // name to name
}

// section is where a file's bytes are in an archive.
type section struct{ offset, size int64 }

// savedImage is an entry of an archive's manifest.json.
type savedImage struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// maxArchiveFiles bounds the entries of a docker save archive: a few for each
// layer.
const maxArchiveFiles = 20_000

// openArchive finds an image in an archive of docker save: ref is
// "docker-archive:" and rest.
func openArchive(ref, rest string) (_ *container, err error) {
	name, tag, _ := strings.Cut(rest, ":")
	if err := checkPath(ref, name); err != nil {
		return nil, err
	}
	info, err := os.Stat(name)
	if err != nil {
		return nil, noFile(ref, name, err)
	}
	if !info.Mode().IsRegular() {
		return nil, isolde.Errorf(isolde.CodeInvalid, "%s is no file; docker-archive: takes the tar that docker save writes", name).
			WithHint("name the folder of an OCI layout oci:%s", name)
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, noFile(ref, name, err)
	}
	defer func() {
		if err != nil {
			f.Close()
		}
	}()
	a := &dockerArchive{ref: ref, file: f, sections: map[string]section{}, links: map[string]string{}}
	if err := a.scan(name); err != nil {
		return nil, err
	}
	saved, err := a.find(name, tag)
	if err != nil {
		return nil, err
	}
	return a.container(saved)
}

// scan notes where in the archive everything is.
func (a *dockerArchive) scan(name string) error {
	start := make([]byte, 2)
	if _, err := a.file.ReadAt(start, 0); err == nil && bytes.Equal(start, gzipMagic) {
		return isolde.Errorf(isolde.CodeInvalid, "%s is compressed", name).WithHint("gunzip it first")
	}
	in := tar.NewReader(a.file)
	for n := 0; ; n++ {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil && n == maxArchiveFiles {
			err = fmt.Errorf("it has more than %d entries", maxArchiveFiles)
		}
		if err != nil {
			return isolde.Errorf(isolde.CodeInvalid, "%s is no archive of docker save: %w", name, err).
				WithHint("write one with docker save -o %s IMAGE", name)
		}
		offset, err := a.file.Seek(0, io.SeekCurrent)
		if err != nil {
			return err
		}
		switch file := path.Clean(h.Name); h.Typeflag {
		case tar.TypeReg:
			a.sections[file] = section{offset, h.Size}
		case tar.TypeSymlink: // older versions of docker save, for equal layers
			a.links[file] = path.Join(path.Dir(file), h.Linkname)
		case tar.TypeLink:
			a.links[file] = path.Clean(h.Linkname)
		}
	}
}

// open opens a file of the archive.
func (a *dockerArchive) open(name string) (section, error) {
	name = path.Clean(name)
	for range 10 {
		if at, ok := a.sections[name]; ok {
			return at, nil
		}
		to, ok := a.links[name]
		if !ok {
			break
		}
		name = to
	}
	return section{}, isolde.Errorf(isolde.CodeInvalid, "%s has no file %q, which it names", a.ref, brief(name)).
		WithHint("write the archive again, with docker save")
}

func (a *dockerArchive) read(at section) ([]byte, error) {
	return readDocument(io.NewSectionReader(a.file, at.offset, at.size))
}

// find is the image that a tag names, or the only one.
func (a *dockerArchive) find(name, tag string) (savedImage, error) {
	var all []savedImage
	at, err := a.open("manifest.json")
	if err != nil {
		if _, ok := a.sections["index.json"]; ok {
			return savedImage{}, isolde.Errorf(isolde.CodeInvalid, "%s holds an OCI layout, not what docker save writes", name).
				WithHint("unpack it into a folder: mkdir DIR && tar -xf %s -C DIR, and name that oci:DIR", name)
		}
		return savedImage{}, isolde.Errorf(isolde.CodeInvalid, "%s is no archive of docker save: it has no manifest.json", name).
			WithHint("write one with docker save -o %s IMAGE", name)
	}
	raw, err := a.read(at)
	if err == nil {
		err = json.Unmarshal(raw, &all)
	}
	if err != nil {
		return savedImage{}, isolde.Errorf(isolde.CodeInvalid, "%s: manifest.json is not one of docker save: %w", name, err).
			WithHint("write the archive again, with docker save -o %s IMAGE", name)
	}
	var tags []string
	for _, img := range all {
		tags = append(tags, img.RepoTags...)
		for _, t := range img.RepoTags {
			if tag != "" && isTag(t, tag) {
				return img, nil
			}
		}
	}
	switch tags = distinct(tags); {
	case tag != "":
		return savedImage{}, noTag(a.ref, tag, tags)
	case len(all) == 1:
		return all[0], nil
	case len(tags) == 0:
		return savedImage{}, isolde.Errorf(isolde.CodeInvalid, "%s holds %s without names", name, plural(len(all), "image")).
			WithHint("save one alone: docker save -o %s IMAGE", name)
	}
	return savedImage{}, isolde.Errorf(isolde.CodeInvalid, "%s holds several images: %s", name, strings.Join(tags, ", ")).
		WithHint("name one, as in docker-archive:%s:%s", name, tags[0])
}

func (a *dockerArchive) container(saved savedImage) (*container, error) {
	c := &container{name: a.ref, verb: "reading", unpacked: true, close: func() { a.file.Close() }}
	c.open = func(_ context.Context, b blob) (io.ReadCloser, error) {
		return io.NopCloser(io.NewSectionReader(a.file, b.at.offset, b.at.size)), nil
	}
	at, err := a.open(saved.Config)
	if err != nil {
		return nil, err
	}
	if c.raw, err = a.read(at); err != nil {
		return nil, isolde.Errorf(isolde.CodeInvalid, "%s: cannot read %s: %w", a.ref, brief(saved.Config), err).WithHint("write the archive again")
	}
	for _, l := range saved.Layers {
		at, err := a.open(l)
		if err != nil {
			return nil, err
		}
		c.layers = append(c.layers, blob{Descriptor: v1.Descriptor{Size: at.size}, at: at})
	}
	return c, c.readConfig()
}
