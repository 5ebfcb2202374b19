package operator

import (
	"encoding/json"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"time"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/catalog"
	"github.com/isolde-run/isolde/image"
)

// maxDocument bounds the JSON documents that requests hold, in bytes.
const maxDocument = 1 << 20

// deploy streams a deployment's progress. Once the stream has begun the
// status is 200, and an error is its last line.
func (h *Handler) deploy(w http.ResponseWriter, r *http.Request) {
	d, source, err := readDeployment(r)
	if err != nil {
		h.fail(w, r, err)
		return
	}
	out := newLineWriter(w)
	progress := func(p image.Progress) { out.write(DeployEvent{Progress: &p}) }
	var result catalog.Deployed
	if source == nil {
		result, err = h.Catalog.DeployArtifact(r.Context(), d.Name, d.Spec, progress)
	} else {
		result, err = h.Catalog.Deploy(r.Context(), d.Name, d.Spec, source, progress)
	}
	if err != nil {
		h.log(r, isolde.AsError(err))
		out.write(DeployEvent{Error: errorBody(err)})
		return
	}
	out.write(DeployEvent{Result: &Deployed{
		ARN: h.Locality.RuntimeARN(result.Runtime.ID), ID: result.Runtime.ID, Name: result.Runtime.Name,
		Version: result.Version.Number, Status: result.Version.Status, Created: result.Created, Changed: result.Changed,
	}})
}

// readDeployment reads what is deployed; source is nil if that is an artifact.
func readDeployment(r *http.Request) (d Deployment, source io.Reader, err error) {
	if kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); kind == "application/json" {
		if err := d.decode(r.Body); err != nil {
			return d, nil, err
		}
		if d.Spec.Artifact == nil {
			return d, nil, isolde.Errorf(isolde.CodeInvalid, "a deployment as application/json must have spec.agentRuntimeArtifact").
				WithHint("a folder is deployed as multipart/form-data")
		}
		return d, nil, nil
	}
	form, err := r.MultipartReader()
	if err != nil {
		return d, nil, isolde.Errorf(isolde.CodeInvalid, "a deployment is multipart/form-data with the parts spec and source, or application/json").WithCause(err)
	}
	part, err := nextPart(form, "first", "spec")
	if err != nil {
		return d, nil, err
	}
	if err := d.decode(part); err != nil {
		return d, nil, err
	}
	if d.Spec.Artifact != nil {
		return d, nil, isolde.Errorf(isolde.CodeInvalid, "the deployment of a folder must not have spec.agentRuntimeArtifact").
			WithHint("an artifact is deployed as application/json")
	}
	source, err = nextPart(form, "second", "source")
	return d, source, err
}

func nextPart(form *multipart.Reader, which, name string) (*multipart.Part, error) {
	part, err := form.NextPart()
	if err != nil || part.FormName() != name {
		return nil, isolde.Errorf(isolde.CodeInvalid, "the %s part of a deployment must be %s", which, name).WithCause(err)
	}
	return part, nil
}

func (d *Deployment) decode(r io.Reader) error {
	dec := json.NewDecoder(io.LimitReader(r, maxDocument))
	dec.DisallowUnknownFields()
	if err := dec.Decode(d); err != nil {
		return isolde.Errorf(isolde.CodeInvalid, "the spec of the deployment: %w", err)
	}
	return nil
}

// lookEvery is how often a build is looked at of which nothing is heard, as
// in the moment before it begins.
const lookEvery = 50 * time.Millisecond

// build streams the progress of what is under way with an agent runtime, and
// how it ends; at once if nothing is under way.
func (h *Handler) build(w http.ResponseWriter, r *http.Request) {
	a, err := h.findAgent(r, r.PathValue("agent"))
	if err != nil {
		h.fail(w, r, err)
		return
	}
	out := newLineWriter(w)
	for sent := 0; err == nil && !a.Status.Final(); {
		_ = out.rc.Flush() // so that the caller knows it is heard
		n := 0
		for p := range h.Catalog.Watch(r.Context(), a.ID) {
			if n++; n > sent {
				sent = n
				out.write(DeployEvent{Progress: &p})
			}
		}
		if a, err = h.Store.Runtime(r.Context(), string(a.ID)); err == nil && a.Status.Final() {
			break
		}
		select {
		case <-time.After(lookEvery):
		case <-r.Context().Done():
			return
		}
	}
	if err != nil {
		h.log(r, isolde.AsError(err))
		out.write(DeployEvent{Error: errorBody(err)})
		return
	}
	out.write(h.outcome(a))
}

// outcome is what a final status says of an agent runtime.
func (h *Handler) outcome(a isolde.AgentRuntime) DeployEvent {
	var err *isolde.Error
	switch a.Status {
	case isolde.StatusReady:
		return DeployEvent{Result: &Deployed{ARN: h.Locality.RuntimeARN(a.ID), ID: a.ID, Name: a.Name, Version: a.Latest, Status: a.Status}}
	case isolde.StatusDeleteFailed:
		err = isolde.Errorf(isolde.CodeInternal, "agent %s is %s: %s", a.Name, a.Status, a.FailureReason).
			WithHint("delete it again with: isolde agent rm %s", a.Name)
	default:
		err = isolde.Errorf(isolde.CodeInvalid, "version %s of agent %s is %s: %s", a.Latest, a.Name, a.Status, a.FailureReason)
	}
	return DeployEvent{Error: errorBody(err)}
}
