package agentcore_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/bedrockagentcorecontrol"
	"github.com/aws/aws-sdk-go-v2/service/bedrockagentcorecontrol/types"
)

func TestControlPlaneReadsAndDeletes(t *testing.T) {
	b := newBed(t, nil)
	ctx := t.Context()
	id := strings.TrimPrefix(b.arn, b.locality.RuntimeARN(""))

	list, err := b.control.ListAgentRuntimes(ctx, &bedrockagentcorecontrol.ListAgentRuntimesInput{})
	if err != nil || len(list.AgentRuntimes) != 1 || aws.ToString(list.AgentRuntimes[0].AgentRuntimeArn) != b.arn || list.AgentRuntimes[0].LastUpdatedAt == nil {
		t.Fatalf("list = %+v, %v", list, err)
	}
	got, err := b.control.GetAgentRuntime(ctx, &bedrockagentcorecontrol.GetAgentRuntimeInput{AgentRuntimeId: aws.String(id)})
	if err != nil {
		t.Fatal(err)
	}
	if got.Status != types.AgentRuntimeStatusReady || aws.ToString(got.AgentRuntimeVersion) != "1" || got.CreatedAt == nil ||
		aws.ToInt32(got.LifecycleConfiguration.IdleRuntimeSessionTimeout) != 900 || aws.ToInt32(got.LifecycleConfiguration.MaxLifetime) != 28800 {
		t.Errorf("get = %+v", got)
	}
	endpoints, err := b.control.ListAgentRuntimeEndpoints(ctx, &bedrockagentcorecontrol.ListAgentRuntimeEndpointsInput{AgentRuntimeId: aws.String(id)})
	if err != nil || len(endpoints.RuntimeEndpoints) != 1 || aws.ToString(endpoints.RuntimeEndpoints[0].Name) != "DEFAULT" ||
		aws.ToString(endpoints.RuntimeEndpoints[0].LiveVersion) != "1" {
		t.Errorf("endpoints = %+v, %v", endpoints, err)
	}
	if _, err := b.control.DeleteAgentRuntime(ctx, &bedrockagentcorecontrol.DeleteAgentRuntimeInput{AgentRuntimeId: aws.String(id)}); err != nil {
		t.Fatal(err)
	}
	var notFound *types.ResourceNotFoundException
	if _, err := b.control.GetAgentRuntime(ctx, &bedrockagentcorecontrol.GetAgentRuntimeInput{AgentRuntimeId: aws.String(id)}); !errors.As(err, &notFound) {
		t.Errorf("get after delete = %v", err)
	}
}

func TestCreateAgentRuntimeSaysItIsNotOffered(t *testing.T) {
	b := newBed(t, nil)
	_, err := b.control.CreateAgentRuntime(t.Context(), &bedrockagentcorecontrol.CreateAgentRuntimeInput{
		AgentRuntimeName: aws.String("x"), RoleArn: aws.String("arn:aws:iam::123456789012:role/x"),
		AgentRuntimeArtifact: &types.AgentRuntimeArtifactMemberContainerConfiguration{Value: types.ContainerConfiguration{ContainerUri: aws.String("x")}},
	})
	if err == nil || !strings.Contains(err.Error(), "CreateAgentRuntime is not offered") {
		t.Errorf("create = %v", err)
	}
}
