package agentcore_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	control "github.com/aws/aws-sdk-go-v2/service/bedrockagentcorecontrol"
	"github.com/aws/aws-sdk-go-v2/service/bedrockagentcorecontrol/types"
	"github.com/google/go-cmp/cmp"

	"github.com/isolde-run/isolde"
)

const role = "arn:aws:iam::123456789012:role/agent"

// ignoreUnexported compares shapes of the SDK.
var ignoreUnexported = cmp.FilterPath(func(p cmp.Path) bool {
	f, ok := p.Last().(cmp.StructField)
	return ok && strings.HasPrefix(f.Name(), "noSmithy")
}, cmp.Ignore())

func container(uri string) types.AgentRuntimeArtifact {
	return &types.AgentRuntimeArtifactMemberContainerConfiguration{Value: types.ContainerConfiguration{ContainerUri: &uri}}
}

// create begins to create an agent runtime of a container image.
func (b *bed) create(t *testing.T, name string) *control.CreateAgentRuntimeOutput {
	t.Helper()
	out, err := b.control.CreateAgentRuntime(t.Context(), &control.CreateAgentRuntimeInput{
		AgentRuntimeName: &name, RoleArn: aws.String(role), AgentRuntimeArtifact: container("registry.example.com/agent:1"),
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// await polls an agent runtime, as clients do, until nothing is under way.
func (b *bed) await(t *testing.T, id *string) *control.GetAgentRuntimeOutput {
	t.Helper()
	for {
		out, err := b.control.GetAgentRuntime(t.Context(), &control.GetAgentRuntimeInput{AgentRuntimeId: id})
		if err != nil {
			t.Fatal(err)
		}
		if isolde.Status(out.Status).Final() {
			return out
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func (b *bed) awaitEndpoint(t *testing.T, id, name *string) *control.GetAgentRuntimeEndpointOutput {
	t.Helper()
	for {
		out, err := b.control.GetAgentRuntimeEndpoint(t.Context(), &control.GetAgentRuntimeEndpointInput{AgentRuntimeId: id, EndpointName: name})
		if err != nil {
			t.Fatal(err)
		}
		if isolde.Status(out.Status).Final() {
			return out
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// awaitGone polls until what a deletion deletes is not found.
func awaitGone(t *testing.T, get func(context.Context) error) {
	t.Helper()
	for {
		err := get(t.Context())
		if _, ok := errors.AsType[*types.ResourceNotFoundException](err); ok {
			return
		}
		if err != nil {
			t.Fatalf("while it is deleted: %v", err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// TestLifeOfAnAgentRuntime is what a deployment script of AWS's does, and more.
func TestLifeOfAnAgentRuntime(t *testing.T) {
	b := newBed(t, nil)
	ctx := t.Context()
	release := b.builder.block()
	created := b.create(t, "life")
	id := created.AgentRuntimeId
	if created.Status != types.AgentRuntimeStatusCreating || aws.ToString(created.AgentRuntimeVersion) != "1" ||
		aws.ToString(created.AgentRuntimeArn) != b.locality.RuntimeARN(isolde.RuntimeID(*id)) ||
		aws.ToString(created.WorkloadIdentityDetails.WorkloadIdentityArn) != "arn:aws:bedrock-agentcore:us-west-2:123456789012:workload-identity-directory/default/workload-identity/"+*id {
		t.Errorf("create = %+v", created)
	}
	if e, err := b.control.GetAgentRuntimeEndpoint(ctx, &control.GetAgentRuntimeEndpointInput{AgentRuntimeId: id, EndpointName: aws.String("DEFAULT")}); err != nil ||
		e.Status != types.AgentRuntimeEndpointStatusCreating || e.LiveVersion != nil || aws.ToString(e.TargetVersion) != "1" {
		t.Errorf("DEFAULT while CREATING = %+v, %v", e, err)
	}
	release()
	if got := b.await(t, id); got.Status != types.AgentRuntimeStatusReady || !got.CreatedAt.Equal(*created.CreatedAt) {
		t.Fatalf("get = %+v", got)
	}

	updated, err := b.control.UpdateAgentRuntime(ctx, &control.UpdateAgentRuntimeInput{
		AgentRuntimeId: id, RoleArn: aws.String(role), AgentRuntimeArtifact: container("registry.example.com/agent:2"), Description: aws.String("the second"),
	})
	if err != nil || updated.Status != types.AgentRuntimeStatusUpdating || aws.ToString(updated.AgentRuntimeVersion) != "2" || !updated.LastUpdatedAt.After(*updated.CreatedAt) {
		t.Fatalf("update = %+v, %v", updated, err)
	}
	if got := b.await(t, id); aws.ToString(got.AgentRuntimeVersion) != "2" || aws.ToString(got.Description) != "the second" {
		t.Fatalf("get = %+v", got)
	}
	first, err := b.control.GetAgentRuntime(ctx, &control.GetAgentRuntimeInput{AgentRuntimeId: id, AgentRuntimeVersion: aws.String("1")})
	if err != nil || first.Description != nil || aws.ToString(first.AgentRuntimeVersion) != "1" {
		t.Errorf("version 1 = %+v, %v", first, err)
	}
	versions, err := b.control.ListAgentRuntimeVersions(ctx, &control.ListAgentRuntimeVersionsInput{AgentRuntimeId: id})
	if err != nil || len(versions.AgentRuntimes) != 2 || aws.ToString(versions.AgentRuntimes[0].AgentRuntimeVersion) != "2" || aws.ToString(versions.AgentRuntimes[0].Description) != "the second" {
		t.Errorf("versions = %+v, %v", versions, err)
	}

	b.lifeOfAnEndpoint(t, id)

	if _, err := b.control.DeleteAgentRuntime(ctx, &control.DeleteAgentRuntimeInput{AgentRuntimeId: id, AgentRuntimeVersion: aws.String("2")}); !isConflict(err, "DEFAULT") {
		t.Errorf("delete of DEFAULT's version = %v", err)
	}
	gone, err := b.control.DeleteAgentRuntime(ctx, &control.DeleteAgentRuntimeInput{AgentRuntimeId: id, AgentRuntimeVersion: aws.String("1")})
	if err != nil || aws.ToString(gone.AgentRuntimeVersion) != "1" || gone.Status != types.AgentRuntimeStatusDeleting {
		t.Errorf("delete of a version = %+v, %v", gone, err)
	}
	awaitGone(t, func(ctx context.Context) error {
		_, err := b.control.GetAgentRuntime(ctx, &control.GetAgentRuntimeInput{AgentRuntimeId: id, AgentRuntimeVersion: aws.String("1")})
		return err
	})
	deleted, err := b.control.DeleteAgentRuntime(ctx, &control.DeleteAgentRuntimeInput{AgentRuntimeId: id})
	if err != nil || deleted.Status != types.AgentRuntimeStatusDeleting || aws.ToString(deleted.AgentRuntimeId) != *id || deleted.AgentRuntimeVersion != nil {
		t.Errorf("delete = %+v, %v", deleted, err)
	}
	awaitGone(t, func(ctx context.Context) error {
		_, err := b.control.GetAgentRuntime(ctx, &control.GetAgentRuntimeInput{AgentRuntimeId: id})
		return err
	})
}

// lifeOfAnEndpoint makes one at version 1, moves it to 2 and deletes it.
func (b *bed) lifeOfAnEndpoint(t *testing.T, id *string) {
	t.Helper()
	ctx, name := t.Context(), aws.String("default") // beside DEFAULT, as AWS's samples have it
	e, err := b.control.CreateAgentRuntimeEndpoint(ctx, &control.CreateAgentRuntimeEndpointInput{
		AgentRuntimeId: id, Name: name, AgentRuntimeVersion: aws.String("1"), Description: aws.String("stable"), Tags: map[string]string{"stage": "prod"},
	})
	if err != nil || e.Status != types.AgentRuntimeEndpointStatusCreating || aws.ToString(e.TargetVersion) != "1" || aws.ToString(e.EndpointName) != "default" {
		t.Fatalf("create endpoint = %+v, %v", e, err)
	}
	got := b.awaitEndpoint(t, id, name)
	if got.Status != types.AgentRuntimeEndpointStatusReady || aws.ToString(got.LiveVersion) != "1" || aws.ToString(got.Description) != "stable" ||
		aws.ToString(got.Id) != "default" || aws.ToString(got.AgentRuntimeEndpointArn) != *e.AgentRuntimeEndpointArn {
		t.Errorf("endpoint = %+v", got)
	}
	list, err := b.control.ListAgentRuntimeEndpoints(ctx, &control.ListAgentRuntimeEndpointsInput{AgentRuntimeId: id})
	if err != nil || len(list.RuntimeEndpoints) != 2 || aws.ToString(list.RuntimeEndpoints[0].Name) != "DEFAULT" || aws.ToString(list.RuntimeEndpoints[1].Name) != "default" {
		t.Errorf("endpoints = %+v, %v", list, err)
	}
	moved, err := b.control.UpdateAgentRuntimeEndpoint(ctx, &control.UpdateAgentRuntimeEndpointInput{AgentRuntimeId: id, EndpointName: name, AgentRuntimeVersion: aws.String("2")})
	if err != nil || moved.Status != types.AgentRuntimeEndpointStatusUpdating || aws.ToString(moved.LiveVersion) != "1" || aws.ToString(moved.TargetVersion) != "2" {
		t.Errorf("move = %+v, %v", moved, err)
	}
	if got := b.awaitEndpoint(t, id, name); aws.ToString(got.LiveVersion) != "2" || aws.ToString(got.Description) != "stable" {
		t.Errorf("moved endpoint = %+v", got)
	}
	tags, err := b.control.ListTagsForResource(ctx, &control.ListTagsForResourceInput{ResourceArn: e.AgentRuntimeEndpointArn})
	if err != nil || !cmp.Equal(tags.Tags, map[string]string{"stage": "prod"}) {
		t.Errorf("tags of the endpoint = %+v, %v", tags, err)
	}
	if _, err := b.control.DeleteAgentRuntimeEndpoint(ctx, &control.DeleteAgentRuntimeEndpointInput{AgentRuntimeId: id, EndpointName: aws.String("DEFAULT")}); !isConflict(err, "removed when you delete the agent") {
		t.Errorf("delete of DEFAULT = %v", err)
	}
	deleted, err := b.control.DeleteAgentRuntimeEndpoint(ctx, &control.DeleteAgentRuntimeEndpointInput{AgentRuntimeId: id, EndpointName: name})
	if err != nil || deleted.Status != types.AgentRuntimeEndpointStatusDeleting || aws.ToString(deleted.EndpointName) != "default" || aws.ToString(deleted.AgentRuntimeId) != *id {
		t.Errorf("delete endpoint = %+v, %v", deleted, err)
	}
	awaitGone(t, func(ctx context.Context) error {
		_, err := b.control.GetAgentRuntimeEndpoint(ctx, &control.GetAgentRuntimeEndpointInput{AgentRuntimeId: id, EndpointName: name})
		return err
	})
}

func TestTagsAndPolicies(t *testing.T) {
	b := newBed(t, nil)
	ctx, arn := t.Context(), &b.arn
	endpoint := aws.String(b.arn + "/runtime-endpoint/DEFAULT")
	tags := func(arn *string) map[string]string {
		t.Helper()
		out, err := b.control.ListTagsForResource(ctx, &control.ListTagsForResourceInput{ResourceArn: arn})
		if err != nil {
			t.Fatal(err)
		}
		return out.Tags
	}
	set := map[string]string{"team": "support", "cost center": "", "path": "a/b=c"}
	if _, err := b.control.TagResource(ctx, &control.TagResourceInput{ResourceArn: arn, Tags: set}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.control.UntagResource(ctx, &control.UntagResourceInput{ResourceArn: arn, TagKeys: []string{"path", "cost center", "unknown"}}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"team": "support"}, tags(arn)); diff != "" {
		t.Errorf("tags (-want +got):\n%s", diff)
	}
	if got := tags(endpoint); got == nil || len(got) != 0 {
		t.Errorf("tags of the endpoint = %#v", got)
	}

	const document = `{"Version":"2012-10-17","Statement":[{"Sid":"<&>","Effect":"Allow"}]}`
	var notFound *types.ResourceNotFoundException
	for _, arn := range []*string{arn, endpoint} {
		if _, err := b.control.GetResourcePolicy(ctx, &control.GetResourcePolicyInput{ResourceArn: arn}); !errors.As(err, &notFound) || !strings.Contains(err.Error(), *arn+" has no resource policy") {
			t.Errorf("policy of %s before = %v", *arn, err)
		}
		put, err := b.control.PutResourcePolicy(ctx, &control.PutResourcePolicyInput{ResourceArn: arn, Policy: aws.String(document)})
		if err != nil || aws.ToString(put.Policy) != document {
			t.Fatalf("put = %+v, %v", put, err)
		}
		if got, err := b.control.GetResourcePolicy(ctx, &control.GetResourcePolicyInput{ResourceArn: arn}); err != nil || aws.ToString(got.Policy) != document {
			t.Errorf("get = %+v, %v", got, err)
		}
		for range 2 {
			if _, err := b.control.DeleteResourcePolicy(ctx, &control.DeleteResourcePolicyInput{ResourceArn: arn}); err != nil {
				t.Errorf("delete = %v", err)
			}
		}
	}
}

// TestFolderInTheAPI wants what isolde deploy made to read like the API's own.
func TestFolderInTheAPI(t *testing.T) {
	b := newBed(t, nil)
	id := aws.String(strings.TrimPrefix(b.arn, b.locality.RuntimeARN("")))
	got := b.await(t, id)
	uri := "isolde.invalid/echo@" + digest
	if diff := cmp.Diff(container(uri), got.AgentRuntimeArtifact, ignoreUnexported); diff != "" {
		t.Errorf("artifact (-want +got):\n%s", diff)
	}
	if aws.ToString(got.RoleArn) != "arn:aws:iam::123456789012:role/isolde" || got.NetworkConfiguration.NetworkMode != types.NetworkModePublic ||
		got.ProtocolConfiguration.ServerProtocol != types.ServerProtocolHttp || got.MetadataConfiguration != nil ||
		aws.ToInt32(got.LifecycleConfiguration.IdleRuntimeSessionTimeout) != 900 || aws.ToInt32(got.LifecycleConfiguration.MaxLifetime) != 28800 {
		t.Errorf("get = %+v", got)
	}
	if _, err := b.control.UpdateAgentRuntime(t.Context(), &control.UpdateAgentRuntimeInput{
		AgentRuntimeId: id, AgentRuntimeArtifact: got.AgentRuntimeArtifact, RoleArn: got.RoleArn, EnvironmentVariables: map[string]string{"A": ""},
	}); err != nil {
		t.Fatal(err)
	}
	if got := b.await(t, id); got.Status != types.AgentRuntimeStatusReady || !cmp.Equal(got.EnvironmentVariables, map[string]string{"A": ""}) {
		t.Errorf("updated = %+v", got)
	}
}

// TestInvocationsGoWhereTheVersionSays wants protocolConfiguration's path to
// be the agent's.
func TestInvocationsGoWhereTheVersionSays(t *testing.T) {
	b := newBed(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.URL.Path) }))
	out, err := b.control.CreateAgentRuntime(t.Context(), &control.CreateAgentRuntimeInput{
		AgentRuntimeName: aws.String("elsewhere"), RoleArn: aws.String(role), AgentRuntimeArtifact: container("x"),
		ProtocolConfiguration: &types.ProtocolConfiguration{ServerProtocol: types.ServerProtocolHttp, Port: aws.Int32(8090), Path: aws.String("/chat")},
	})
	if err != nil {
		t.Fatal(err)
	}
	b.await(t, out.AgentRuntimeId)
	for name, want := range map[string]string{"elsewhere": "/chat", "echo": "/invocations"} {
		if a := b.do(t, http.MethodPost, "/runtimes/"+name+"/invocations", strings.NewReader("{}")); string(a.body) != want {
			t.Errorf("%s was invoked at %q, want %q", name, a.body, want)
		}
	}
}
