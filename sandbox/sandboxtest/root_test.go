package sandboxtest

import (
	"io/fs"
	"os"
	"testing"

	"github.com/erofs/go-erofs"
)

func TestRootHoldsTheAgent(t *testing.T) {
	agent := BuildAgent(t)
	root := NewRoot(t, agent)
	f, err := os.Open(root.Image)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	image, err := erofs.Open(f)
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(agent)
	if err != nil {
		t.Fatal(err)
	}
	got, err := fs.ReadFile(image, "agent")
	if err != nil || string(got) != string(want) {
		t.Errorf("the agent in the image differs: %v", err)
	}
	// The library's reader drops the sticky bit, the kernel's and gVisor's do not.
	info, err := fs.Stat(image, "tmp")
	if err != nil || info.Mode().Perm() != 0o777 {
		t.Errorf("/tmp: %v, %v", info.Mode(), err)
	}
}
