package agentcore_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	control "github.com/aws/aws-sdk-go-v2/service/bedrockagentcorecontrol"
	"github.com/aws/aws-sdk-go-v2/service/bedrockagentcorecontrol/types"
	"github.com/google/go-cmp/cmp"

	"github.com/isolde-run/isolde"
)

func isConflict(err error, message string) bool {
	var conflict *types.ConflictException
	return errors.As(err, &conflict) && strings.Contains(err.Error(), message)
}

func TestBuildThatFailsSaysWhy(t *testing.T) {
	b := newBed(t, nil)
	b.builder.set(func(context.Context) error {
		return isolde.Errorf(isolde.CodeInvalid, "package nosuch is not on the index").WithHint("mend requirements.txt")
	})
	id := b.create(t, "broken").AgentRuntimeId
	got := b.await(t, id)
	if want := "package nosuch is not on the index (mend requirements.txt)"; got.Status != types.AgentRuntimeStatusCreateFailed || aws.ToString(got.FailureReason) != want {
		t.Errorf("status %s, reason %q", got.Status, aws.ToString(got.FailureReason))
	}
	e := b.awaitEndpoint(t, id, aws.String("DEFAULT"))
	if e.Status != types.AgentRuntimeEndpointStatusCreateFailed || e.LiveVersion != nil {
		t.Errorf("DEFAULT = %+v", e)
	}
	if _, err := b.control.CreateAgentRuntimeEndpoint(t.Context(), &control.CreateAgentRuntimeEndpointInput{AgentRuntimeId: id, Name: aws.String("prod")}); !isConflict(err, "READY") {
		t.Errorf("endpoint at a version that failed = %v", err)
	}
	b.builder.set(nil)
	if _, err := b.control.UpdateAgentRuntime(t.Context(), &control.UpdateAgentRuntimeInput{AgentRuntimeId: id, RoleArn: aws.String(role), AgentRuntimeArtifact: container("x")}); err != nil {
		t.Fatal(err)
	}
	if got := b.await(t, id); got.Status != types.AgentRuntimeStatusReady || got.FailureReason != nil {
		t.Errorf("mended = %+v", got)
	}
}

// TestStatusIsTheRuntimesOwn wants the newest version to be shown as its agent
// runtime is, and an older one as itself.
func TestStatusIsTheRuntimesOwn(t *testing.T) {
	b := newBed(t, nil)
	ctx := t.Context()
	id := b.create(t, "stays").AgentRuntimeId
	b.await(t, id)
	if _, err := b.control.UpdateAgentRuntime(ctx, &control.UpdateAgentRuntimeInput{AgentRuntimeId: id, RoleArn: aws.String(role), AgentRuntimeArtifact: container("x")}); err != nil {
		t.Fatal(err)
	}
	b.await(t, id)
	r, err := b.store.Runtime(ctx, *id)
	if err != nil {
		t.Fatal(err)
	}
	r.Status, r.FailureReason, r.UpdatedAt = isolde.StatusDeleteFailed, "a sandbox does not end", time.Now()
	if _, err := b.store.SetRuntimeStatus(ctx, isolde.Once{}, r); err != nil {
		t.Fatal(err)
	}
	if got := b.await(t, id); got.Status != types.AgentRuntimeStatusDeleteFailed || aws.ToString(got.FailureReason) != r.FailureReason {
		t.Errorf("newest = %s, %q", got.Status, aws.ToString(got.FailureReason))
	}
	first, err := b.control.GetAgentRuntime(ctx, &control.GetAgentRuntimeInput{AgentRuntimeId: id, AgentRuntimeVersion: aws.String("1")})
	if err != nil || first.Status != types.AgentRuntimeStatusReady || first.FailureReason != nil {
		t.Errorf("version 1 = %+v, %v", first, err)
	}
}

func TestConflictsWhileCreating(t *testing.T) {
	b := newBed(t, nil)
	ctx := t.Context()
	release := b.builder.block()
	defer release()
	id := b.create(t, "slow").AgentRuntimeId
	if _, err := b.control.UpdateAgentRuntime(ctx, &control.UpdateAgentRuntimeInput{AgentRuntimeId: id, RoleArn: aws.String(role), AgentRuntimeArtifact: container("x")}); !isConflict(err, "CREATING") {
		t.Errorf("update = %v", err)
	}
	if _, err := b.control.DeleteAgentRuntime(ctx, &control.DeleteAgentRuntimeInput{AgentRuntimeId: id}); !isConflict(err, "CREATING") {
		t.Errorf("delete = %v", err)
	}
	_, err := b.control.CreateAgentRuntime(ctx, &control.CreateAgentRuntimeInput{
		AgentRuntimeName: aws.String("slow"), RoleArn: aws.String(role), AgentRuntimeArtifact: container("x"),
	})
	if !isConflict(err, `"slow"`) {
		t.Errorf("create with the same name = %v", err)
	}
}

func TestClientTokens(t *testing.T) {
	b := newBed(t, nil)
	ctx := t.Context()
	token := aws.String("0123456789-0123456789-0123456789-0123456789")
	in := &control.CreateAgentRuntimeInput{AgentRuntimeName: aws.String("once"), RoleArn: aws.String(role), AgentRuntimeArtifact: container("x"), ClientToken: token}
	first, err := b.control.CreateAgentRuntime(ctx, in)
	if err != nil {
		t.Fatal(err)
	}
	b.await(t, first.AgentRuntimeId)
	again, err := b.control.CreateAgentRuntime(ctx, in)
	if err != nil {
		t.Fatal(err)
	}
	if *again.AgentRuntimeId != *first.AgentRuntimeId || again.Status != first.Status || !again.CreatedAt.Equal(*first.CreatedAt) {
		t.Errorf("repeated create = %+v, want %+v", again, first)
	}
	in.Description = aws.String("another")
	var invalid *types.ValidationException
	if _, err := b.control.CreateAgentRuntime(ctx, in); !errors.As(err, &invalid) || invalid.Reason != types.ValidationExceptionReasonIdempotentParameterMismatchException {
		t.Errorf("same token, other request = %v", err)
	}

	del := &control.DeleteAgentRuntimeInput{AgentRuntimeId: first.AgentRuntimeId, ClientToken: token}
	for range 2 { // the second may find it gone
		out, err := b.control.DeleteAgentRuntime(ctx, del)
		if err != nil || out.Status != types.AgentRuntimeStatusDeleting {
			t.Fatalf("delete = %+v, %v", out, err)
		}
		awaitGone(t, func(ctx context.Context) error {
			_, err := b.control.GetAgentRuntime(ctx, &control.GetAgentRuntimeInput{AgentRuntimeId: first.AgentRuntimeId})
			return err
		})
	}
}

func TestAllProblemsOfARequestAreNamed(t *testing.T) {
	b := newBed(t, nil)
	_, err := b.control.CreateAgentRuntime(t.Context(), &control.CreateAgentRuntimeInput{
		AgentRuntimeName:       aws.String("9 lives"),
		RoleArn:                aws.String("role"),
		AgentRuntimeArtifact:   container("x"),
		Description:            aws.String(strings.Repeat("x", 4097)),
		ClientToken:            aws.String("short"),
		AllowedPorts:           []types.AllowedPort{&types.AllowedPortMemberPort{Value: 80}},
		LifecycleConfiguration: &types.LifecycleConfiguration{IdleRuntimeSessionTimeout: aws.Int32(0)},
		Tags:                   map[string]string{"a": strings.Repeat("x", 257)},
	})
	var invalid *types.ValidationException
	if !errors.As(err, &invalid) {
		t.Fatalf("create = %v", err)
	}
	if invalid.Reason != types.ValidationExceptionReasonFieldValidationFailed {
		t.Errorf("reason %s", invalid.Reason)
	}
	var names []string
	for _, f := range invalid.FieldList {
		names = append(names, aws.ToString(f.Name))
		if !strings.Contains(invalid.ErrorMessage(), aws.ToString(f.Name)+" "+aws.ToString(f.Message)) {
			t.Errorf("the message lacks %s %s", aws.ToString(f.Name), aws.ToString(f.Message))
		}
	}
	want := []string{"agentRuntimeName", "lifecycleConfiguration.idleRuntimeSessionTimeout", "description", "roleArn", "allowedPorts[0]", "clientToken", "tags.a"}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("fields (-want +got):\n%s", diff)
	}
}

// capacityProviders are refused by name, not forgotten.
func TestCapacityProvidersAreNotOffered(t *testing.T) {
	b := newBed(t, nil)
	_, err := b.control.CreateAgentRuntime(t.Context(), &control.CreateAgentRuntimeInput{
		AgentRuntimeName: aws.String("x"), RoleArn: aws.String(role), AgentRuntimeArtifact: container("x"),
		CapacityProviderConfiguration: &types.CapacityProviderConfiguration{CapacityProviderArn: aws.String("arn:aws:bedrock-agentcore:us-west-2:123456789012:capacity-provider/x-0123456789")},
	})
	var invalid *types.ValidationException
	if !errors.As(err, &invalid) || len(invalid.FieldList) != 1 || aws.ToString(invalid.FieldList[0].Name) != "capacityProviderConfiguration" {
		t.Errorf("create = %v", err)
	}
	_, err = b.control.ListAgentRuntimeVersionsByCapacityProvider(t.Context(), &control.ListAgentRuntimeVersionsByCapacityProviderInput{CapacityProviderId: aws.String("x-0123456789")})
	if !errors.As(err, &invalid) || !strings.Contains(err.Error(), "Isolde has no capacity providers") {
		t.Errorf("list = %v", err)
	}
}
