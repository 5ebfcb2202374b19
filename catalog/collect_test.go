package catalog

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/image"
)

// What a deletion or a deployment leaves without use while images are held is
// collected once they are not.
func TestHeldImagesAreKept(t *testing.T) {
	b := newBed(t)
	deploy := func(name, ref string) {
		t.Helper()
		if _, err := b.DeployArtifact(t.Context(), name, container(ref), func(image.Progress) {}); err != nil {
			t.Fatal(err)
		}
	}
	deploy("other", "one")
	b.collects.Wait()
	release := b.Hold()
	b.builder.mu.Lock()
	b.builder.kept = nil
	b.builder.mu.Unlock()
	deploy("agent", "two") // goes on
	if _, err := b.Remove(t.Context(), "other"); err != nil {
		t.Fatal(err)
	}
	b.collects.Wait()
	b.builder.mu.Lock()
	kept := b.builder.kept
	b.builder.mu.Unlock()
	if kept != nil {
		t.Errorf("while images are held, there is a collection that keeps %v", kept)
	}
	release()
	b.collects.Wait()
	if diff := cmp.Diff([]string{"two"}, b.builder.kept); diff != "" {
		t.Errorf("kept (-want +got):\n%s", diff)
	}
}

func TestDeployArtifactNeedsOne(t *testing.T) {
	b := newBed(t)
	for name, spec := range map[string]isolde.VersionSpec{
		"agent":    {},
		"bad-name": container("one"),
		"old":      {Artifact: container("one").Artifact, CapacityProvider: "arn:aws:bedrock-agentcore:us-east-1:123456789012:capacity-provider/x"},
	} {
		if _, err := b.DeployArtifact(t.Context(), name, spec, nil); isolde.CodeOf(err) != isolde.CodeInvalid {
			t.Errorf("deploy of %s: %v", name, err)
		}
	}
	if b.builder.begun > 0 {
		t.Error("one of them was built")
	}
}
