package catalog

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/sandbox"
)

func withSpec(change func(*isolde.VersionSpec)) isolde.VersionSpec {
	spec := container("one")
	change(&spec)
	return spec
}

func sessionStorage(paths ...string) (out []isolde.Filesystem) {
	for _, p := range paths {
		out = append(out, isolde.Filesystem{Session: &isolde.SessionStorage{MountPath: p}})
	}
	return out
}

func TestVolumesAndMounts(t *testing.T) {
	b := newBed(t)
	b.Catalog.cfg.Mounts = []AllowedFolder{{Folder: "/srv"}, {Folder: "/srv/models", ReadOnly: true}}
	c, err := b.Create(t.Context(), "", "agent", withSpec(func(s *isolde.VersionSpec) {
		s.Filesystems = sessionStorage("/mnt/data/", "/mnt/more")
		s.Resources.StorageBytes = 64 << 20
		s.Mounts = []isolde.Mount{
			{Path: "/mnt/models", Folder: "/srv/models/small", ReadOnly: true}, {Path: "/mnt/all", Folder: "/srv", ReadOnly: true},
		}
	}), nil)
	if err != nil {
		t.Fatal(err)
	}
	if r := b.settle(t, c.Runtime.ID); r.Status != isolde.StatusReady {
		t.Fatalf("runtime = %+v", r)
	}
	target, err := b.Resolve(t.Context(), "agent", "")
	if err != nil {
		t.Fatal(err)
	}
	spec := target.Launch.Spec
	if diff := cmp.Diff([]sandbox.Volume{{Path: "/mnt/data", Bytes: 64 << 20}, {Path: "/mnt/more", Bytes: 64 << 20}}, spec.Volumes); diff != "" {
		t.Errorf("volumes (-want +got):\n%s", diff)
	}
	want := []sandbox.Mount{
		{Path: "/mnt/models", Root: "/srv/models", Folder: "small", ReadOnly: true}, {Path: "/mnt/all", Root: "/srv", Folder: ".", ReadOnly: true},
	}
	if diff := cmp.Diff(want, spec.Mounts); diff != "" {
		t.Errorf("mounts (-want +got):\n%s", diff)
	}

	// What the AgentCore API has no words for stays.
	b.update(t, c.Runtime.ID, "two")
	target, err = b.Resolve(t.Context(), "agent", "")
	if err != nil || len(target.Launch.Spec.Volumes) != 0 || len(target.Launch.Spec.Mounts) != 2 {
		t.Errorf("after an update: %+v, %v", target.Launch.Spec, err)
	}

	// A later server may allow less.
	b.Close()
	b.cfg.Mounts = nil
	b.open(t)
	if _, err := b.Resolve(t.Context(), "agent", ""); isolde.CodeOf(err) != isolde.CodeUnsupported {
		t.Errorf("resolve: %v", err)
	}
}

func TestWhatCannotBeMounted(t *testing.T) {
	b := newBed(t)
	unmounted := isolde.Errorf(isolde.CodeUnsupported, "no mkfs")
	for want, c := range map[string]struct {
		driver sandbox.Capabilities
		change func(*isolde.VersionSpec)
	}{
		"sessionStorage only": {change: func(s *isolde.VersionSpec) {
			s.Filesystems = []isolde.Filesystem{{EFS: &isolde.AccessPoint{ARN: "arn:aws:elasticfilesystem:us-west-2:123456789012:access-point/fsap-00000000", MountPath: "/mnt/efs"}}}
		}},
		"no mkfs": {sandbox.Capabilities{Volumes: unmounted}, func(s *isolde.VersionSpec) { s.Filesystems = sessionStorage("/mnt/data") }},
		"no mounts": {sandbox.Capabilities{Mounts: isolde.Errorf(isolde.CodeUnsupported, "no mounts")}, func(s *isolde.VersionSpec) {
			s.Mounts = []isolde.Mount{{Path: "/mnt/a", Folder: "/srv"}}
		}},
		"does not allow agents to mount its folder /srv/../etc": {change: func(s *isolde.VersionSpec) {
			s.Mounts = []isolde.Mount{{Path: "/mnt/a", Folder: "/srv/../etc", ReadOnly: true}}
		}},
		"does not allow agents to mount its folder /srvother": {change: func(s *isolde.VersionSpec) {
			s.Mounts = []isolde.Mount{{Path: "/mnt/a", Folder: "/srvother", ReadOnly: true}}
		}},
		"to read its folder /srv/models": {change: func(s *isolde.VersionSpec) {
			s.Mounts = []isolde.Mount{{Path: "/mnt/a", Folder: "/srv/models/small"}}
		}},
		"runs its agent as root": {change: func(s *isolde.VersionSpec) {
			s.Mounts = []isolde.Mount{{Path: "/mnt/a", Folder: "/srv/box"}} // the builder's images have no user
		}},
	} {
		c.driver.OwnRoot = true
		b.Catalog.cfg.Driver = c.driver
		b.Catalog.cfg.Mounts = []AllowedFolder{{Folder: "/srv"}, {Folder: "/srv/models", ReadOnly: true}}
		_, err := b.makeImage(t.Context(), withSpec(c.change), nil)
		if e := isolde.AsError(err); e.Code != isolde.CodeUnsupported || !strings.Contains(e.Message, want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

// Sessions keep files until no endpoint leads to their version any more.
func TestStorageGoesWithItsVersion(t *testing.T) {
	b := newBed(t)
	c, err := b.Create(t.Context(), "", "agent", withSpec(func(s *isolde.VersionSpec) { s.Filesystems = sessionStorage("/mnt/data") }), nil)
	if err != nil {
		t.Fatal(err)
	}
	id := c.Runtime.ID
	b.settle(t, id)
	if _, err := b.CreateEndpoint(t.Context(), "", isolde.Endpoint{Runtime: id, Name: "prod"}, nil); err != nil {
		t.Fatal(err)
	}
	b.settle(t, id)
	const name = "session-000000000000000000000000000001"
	key := isolde.SessionKey{Runtime: id, Session: name}
	b.startSession(t, id, name)
	kept := func() int {
		t.Helper()
		b.collects.Wait()
		return len(b.sessions.Storages(id))
	}
	b.update(t, id, "two")
	if err := b.sessions.Stop(t.Context(), key, isolde.EndCaller, "was stopped"); err != nil {
		t.Fatal(err)
	}
	b.collectImages()
	if n := kept(); n != 1 {
		t.Fatalf("%d sessions keep files, while prod leads to their version", n)
	}
	if _, err := b.DeleteEndpoint(t.Context(), "", id, "prod"); err != nil {
		t.Fatal(err)
	}
	b.settle(t, id)
	if n := kept(); n != 0 {
		t.Errorf("%d sessions keep files that nobody can see", n)
	}

	if _, err := b.Update(t.Context(), "", id, withSpec(func(s *isolde.VersionSpec) { s.Filesystems = sessionStorage("/mnt/data") })); err != nil {
		t.Fatal(err)
	}
	b.settle(t, id)
	b.startSession(t, id, name)
	if n := kept(); n != 1 {
		t.Fatalf("%d sessions keep files", n)
	}
	if _, err := b.Remove(t.Context(), string(id)); err != nil {
		t.Fatal(err)
	}
	if n := kept(); n != 0 {
		t.Errorf("%d sessions keep files of an agent that is gone", n)
	}
	if left, _ := os.ReadDir(filepath.Join(b.storage, ".gone")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}
