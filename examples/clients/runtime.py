"""The tutorial's four steps, without a notebook: configure, launch, invoke, status.

    python3 runtime.py FOLDER "2X5"

Runtime reads like the class of that name in AWS's starter toolkit, whose launch
packages for ARM and needs S3, IAM and CodeBuild. Here configure writes the
toolkit's own file, launch has `isolde deploy` read it, and the rest is boto3.
"""

import json
import shutil
import subprocess
import sys
import tempfile
import uuid
from pathlib import Path

import boto3


class Runtime:
    """An agent in a folder, hosted by the server that the AWS endpoint variables name."""

    def __init__(self, folder: str = ".") -> None:
        self.folder = Path(folder)
        self.agent_arn = ""

    def configure(self, entrypoint: str, agent_name: str, protocol: str = "HTTP") -> None:
        """Write .bedrock_agentcore.yaml. JSON is YAML, so no package is needed."""
        agent = {"name": agent_name, "entrypoint": entrypoint, "aws": {"protocol_configuration": {"server_protocol": protocol}}}
        project = {"default_agent": agent_name, "agents": {agent_name: agent}}
        (self.folder / ".bedrock_agentcore.yaml").write_text(json.dumps(project, indent=2) + "\n")

    def launch(self, env_vars: dict[str, str] | None = None) -> dict:
        """Deploy the agent, and wait until it is READY."""
        options = [f"--env={key}={value}" for key, value in (env_vars or {}).items()]
        deploy = ["isolde", "deploy", str(self.folder), "-o", "json", *options]
        launched = json.loads(subprocess.run(deploy, check=True, stdout=subprocess.PIPE).stdout)
        self.agent_arn = launched["agentRuntimeArn"]
        return launched

    def invoke(self, payload: dict, session_id: str | None = None) -> dict:
        """Call the agent. The answer's events, or its whole, are in "response"."""
        answer = boto3.client("bedrock-agentcore").invoke_agent_runtime(
            agentRuntimeArn=self.agent_arn,
            runtimeSessionId=session_id or str(uuid.uuid4()),
            contentType="application/json",
            accept="text/event-stream, application/json",
            payload=json.dumps(payload),
        )
        body = answer["response"]
        if "text/event-stream" in answer["contentType"]:
            lines = (line for line in body.iter_lines(chunk_size=1) if line.startswith(b"data: "))
            return {"session": answer["runtimeSessionId"], "response": [json.loads(line[6:]) for line in lines]}
        return {"session": answer["runtimeSessionId"], "response": [json.loads(body.read())]}

    def status(self) -> str:
        """Return the state of the DEFAULT endpoint, such as READY."""
        control = boto3.client("bedrock-agentcore-control")
        agent_id = self.agent_arn.rpartition("/")[2]
        return control.get_agent_runtime_endpoint(agentRuntimeId=agent_id, endpointName="DEFAULT")["status"]


if __name__ == "__main__":
    folder, prompt = sys.argv[1:]
    with tempfile.TemporaryDirectory() as copy:  # isolde.yaml would go before what configure writes
        shutil.copytree(folder, copy, dirs_exist_ok=True, ignore=shutil.ignore_patterns("isolde.yaml"))
        runtime = Runtime(copy)
        runtime.configure(entrypoint="agent.py", agent_name="walk_through")
        runtime.launch()
    print("status:", runtime.status())
    first = runtime.invoke({"prompt": prompt})
    print("".join(map(str, first["response"])))
    print("".join(map(str, runtime.invoke({"prompt": "and that plus 34?"}, session_id=first["session"])["response"])))
