package agentcore_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	control "github.com/aws/aws-sdk-go-v2/service/bedrockagentcorecontrol"
	"github.com/aws/aws-sdk-go-v2/service/bedrockagentcorecontrol/schemas"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/traits"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"github.com/aws/smithy-go/transport/http/protocol/restjson1"
	"github.com/google/go-cmp/cmp"

	"github.com/isolde-run/isolde/agentcore"
)

// shape is what the SDK reads and writes by a schema.
type shape interface {
	smithy.Serializable
	smithy.Deserializable
}

// operation is one of AWS's model, as the SDK for Go carries it.
type operation struct {
	schema, request, response *smithy.Schema
	output                    func() shape
}

func (op operation) name() string { return op.schema.ID().Name }

func (op operation) http() *traits.HTTP {
	t, _ := smithy.SchemaTrait[*traits.HTTP](op.schema)
	return t
}

var operations = []operation{
	{schemas.CreateAgentRuntime, schemas.CreateAgentRuntimeRequest, schemas.CreateAgentRuntimeResponse, func() shape { return &control.CreateAgentRuntimeOutput{} }},
	{schemas.UpdateAgentRuntime, schemas.UpdateAgentRuntimeRequest, schemas.UpdateAgentRuntimeResponse, func() shape { return &control.UpdateAgentRuntimeOutput{} }},
	{schemas.GetAgentRuntime, schemas.GetAgentRuntimeRequest, schemas.GetAgentRuntimeResponse, func() shape { return &control.GetAgentRuntimeOutput{} }},
	{schemas.ListAgentRuntimes, schemas.ListAgentRuntimesRequest, schemas.ListAgentRuntimesResponse, func() shape { return &control.ListAgentRuntimesOutput{} }},
	{schemas.DeleteAgentRuntime, schemas.DeleteAgentRuntimeRequest, schemas.DeleteAgentRuntimeResponse, func() shape { return &control.DeleteAgentRuntimeOutput{} }},
	{schemas.ListAgentRuntimeVersions, schemas.ListAgentRuntimeVersionsRequest, schemas.ListAgentRuntimeVersionsResponse, func() shape { return &control.ListAgentRuntimeVersionsOutput{} }},
	{schemas.CreateAgentRuntimeEndpoint, schemas.CreateAgentRuntimeEndpointRequest, schemas.CreateAgentRuntimeEndpointResponse, func() shape { return &control.CreateAgentRuntimeEndpointOutput{} }},
	{schemas.UpdateAgentRuntimeEndpoint, schemas.UpdateAgentRuntimeEndpointRequest, schemas.UpdateAgentRuntimeEndpointResponse, func() shape { return &control.UpdateAgentRuntimeEndpointOutput{} }},
	{schemas.GetAgentRuntimeEndpoint, schemas.GetAgentRuntimeEndpointRequest, schemas.GetAgentRuntimeEndpointResponse, func() shape { return &control.GetAgentRuntimeEndpointOutput{} }},
	{schemas.ListAgentRuntimeEndpoints, schemas.ListAgentRuntimeEndpointsRequest, schemas.ListAgentRuntimeEndpointsResponse, func() shape { return &control.ListAgentRuntimeEndpointsOutput{} }},
	{schemas.DeleteAgentRuntimeEndpoint, schemas.DeleteAgentRuntimeEndpointRequest, schemas.DeleteAgentRuntimeEndpointResponse, func() shape { return &control.DeleteAgentRuntimeEndpointOutput{} }},
	{schemas.TagResource, schemas.TagResourceRequest, schemas.TagResourceResponse, func() shape { return &control.TagResourceOutput{} }},
	{schemas.UntagResource, schemas.UntagResourceRequest, schemas.UntagResourceResponse, func() shape { return &control.UntagResourceOutput{} }},
	{schemas.ListTagsForResource, schemas.ListTagsForResourceRequest, schemas.ListTagsForResourceResponse, func() shape { return &control.ListTagsForResourceOutput{} }},
	{schemas.PutResourcePolicy, schemas.PutResourcePolicyRequest, schemas.PutResourcePolicyResponse, func() shape { return &control.PutResourcePolicyOutput{} }},
	{schemas.GetResourcePolicy, schemas.GetResourcePolicyRequest, schemas.GetResourcePolicyResponse, func() shape { return &control.GetResourcePolicyOutput{} }},
	{schemas.DeleteResourcePolicy, schemas.DeleteResourcePolicyRequest, schemas.DeleteResourcePolicyResponse, func() shape { return &control.DeleteResourcePolicyOutput{} }},
}

// refused are the operations that answer that they are not offered.
var refused = []*smithy.Schema{
	schemas.ListAgentRuntimeVersionsByCapacityProvider, schemas.CreateCapacityProvider, schemas.UpdateCapacityProvider,
	schemas.GetCapacityProvider, schemas.ListCapacityProviders, schemas.DeleteCapacityProvider,
}

func operationNamed(t *testing.T, name string) operation {
	t.Helper()
	i := slices.IndexFunc(operations, func(op operation) bool { return op.name() == name })
	if i < 0 {
		t.Fatalf("no operation %s in the test's table", name)
	}
	return operations[i]
}

// recorder keeps what the control plane answered when nothing was wrong.
type recorder struct {
	mu  sync.Mutex
	all map[string][]answer // by operation
}

func (rec *recorder) of(next http.Handler) http.Handler {
	names := agentcore.Patterns()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "/invocations") || strings.Contains(r.URL.Path, "/stopruntimesession") {
			next.ServeHTTP(w, r) // the data plane streams
			return
		}
		kept := &tee{ResponseWriter: w}
		next.ServeHTTP(kept, r)
		if name := names[r.Pattern]; name != "" && kept.status < 300 {
			rec.mu.Lock()
			defer rec.mu.Unlock()
			if rec.all == nil {
				rec.all = make(map[string][]answer)
			}
			rec.all[name] = append(rec.all[name], answer{kept.status, w.Header().Clone(), kept.body.Bytes()})
		}
	})
}

// tee keeps what is written.
type tee struct {
	http.ResponseWriter
	status int
	body   bytes.Buffer
}

func (w *tee) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *tee) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

func (w *tee) Write(b []byte) (int, error) {
	w.body.Write(b)
	return w.ResponseWriter.Write(b)
}

// checkLossless decodes an answer with the SDK and encodes it again: what the
// SDK does not know or cannot read would be missing.
func checkLossless(t *testing.T, op operation, a answer) {
	t.Helper()
	if a.status != op.http().Code {
		t.Errorf("%s answered %d, want %d", op.name(), a.status, op.http().Code)
	}
	if a.header.Get(agentcore.HeaderRequestID) == "" {
		t.Errorf("%s: no request id", op.name())
	}
	if a.status == http.StatusNoContent {
		if len(a.body) > 0 {
			t.Errorf("%s: body %q", op.name(), a.body)
		}
		return
	}
	out := op.output()
	p := restjson1.New(schemas.AmazonBedrockAgentCoreControl)
	resp := &smithyhttp.Response{Response: &http.Response{StatusCode: a.status, Header: a.header, Body: io.NopCloser(bytes.NewReader(a.body))}}
	opSchema := smithy.NewOperationSchema(op.schema, op.request, op.response)
	if err := p.DeserializeResponse(t.Context(), opSchema, control.TypeRegistry, resp, out); err != nil {
		t.Errorf("%s: the SDK cannot decode %s: %v", op.name(), a.body, err)
		return
	}
	if diff := cmp.Diff(object(t, a.body), object(t, encode(t, op, out)), sameMillisecond); diff != "" {
		t.Errorf("%s: the SDK lost something (-answer +read):\n%s", op.name(), diff)
	}
}

// sameMillisecond compares times as far as the SDK writes them.
var sameMillisecond = cmp.Comparer(func(a, b string) bool {
	x, err1 := time.Parse(time.RFC3339, a)
	y, err2 := time.Parse(time.RFC3339, b)
	return a == b || err1 == nil && err2 == nil && x.Truncate(time.Millisecond).Equal(y.Truncate(time.Millisecond))
})

// encode writes an output of the SDK's as JSON again.
func encode(t *testing.T, op operation, out shape) []byte {
	t.Helper()
	req := smithyhttp.NewStackRequest().(*smithyhttp.Request)
	p := restjson1.New(schemas.AmazonBedrockAgentCoreControl)
	// Encoded as if it was the request of an operation without a path.
	schema := smithy.NewOperationSchema(schemas.ListAgentRuntimes, op.response, op.response)
	if err := p.SerializeRequest(t.Context(), schema, out, req); err != nil {
		t.Fatalf("%s: encode: %v", op.name(), err)
	}
	b, err := io.ReadAll(req.GetStream())
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// object reads a JSON object.
func object(t *testing.T, b []byte) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal(b, &m); err != nil {
		t.Fatalf("not JSON: %q: %v", b, err)
	}
	return m
}
