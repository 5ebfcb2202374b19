"""Deploys a zip with nothing but boto3, in the manner of AWS's own samples, and takes it all away again.

    deploy_script.py ZIP [options]

The servers come from AWS_ENDPOINT_URL_S3, _STS, _IAM, _BEDROCK_AGENTCORE and
_BEDROCK_AGENTCORE_CONTROL, credentials and region from the environment. Each
step prints a JSON line {"event", …} on standard output:

    caller     account, arn
    role       arn, created (false if it was there before)
    bucket     bucket, created
    upload     bucket, key, bytes, etag
    runtime    id, arn, status, failureReason: when it is created and whenever the status changes
    endpoint   name, status: the same
    answer     session, statusCode, contentType, body
    stopped    session
    deleted    what ("endpoint", "runtime", "object", "bucket", "role")
    end
    error      step, exception, code, status, message; the exit code is then 1
"""

import argparse
import json
import sys
import time
import traceback
import uuid

import boto3
from botocore.exceptions import ClientError

TRUST = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Principal": {"Service": "bedrock-agentcore.amazonaws.com"},
            "Action": "sts:AssumeRole",
        }
    ],
}
POLICY = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": ["bedrock:InvokeModel"], "Resource": "*"}],
}
POLICY_NAME = "agent-policy"


def say(event, **fields):
    print(json.dumps({"event": event, **fields}), flush=True)


class Deployment:
    def __init__(self, args):
        self.args = args
        self.step = "caller"
        session = boto3.session.Session()
        self.region = session.region_name
        self.s3 = session.client("s3")
        self.sts = session.client("sts")
        self.iam = session.client("iam")
        self.role_name = f"agentcore-{args.name}-role"
        self.key = f"{args.name}/code.zip"

    def run(self):
        caller = self.sts.get_caller_identity()
        self.bucket = f"agentcore-code-{caller['Account']}-{self.region}"
        say("caller", account=caller["Account"], arn=caller["Arn"])
        role_arn = self.create_role(caller["Account"])
        self.upload()
        if not self.args.storage_only:
            self.use_runtime(role_arn)
        if not self.args.keep:
            self.delete_storage()
        say("end")

    def create_role(self, account):
        self.step, created = "role", True
        try:
            role = self.iam.create_role(
                RoleName=self.role_name,
                AssumeRolePolicyDocument=json.dumps(TRUST),
                Description=f"Execution role for {self.args.name}",
            )
            arn = role["Role"]["Arn"]
        except self.iam.exceptions.EntityAlreadyExistsException:
            arn, created = f"arn:aws:iam::{account}:role/{self.role_name}", False
        self.iam.put_role_policy(
            RoleName=self.role_name, PolicyName=POLICY_NAME, PolicyDocument=json.dumps(POLICY)
        )
        self.iam.get_waiter("role_exists").wait(RoleName=self.role_name)
        kept = self.iam.get_role(RoleName=self.role_name)["Role"]
        assert kept["Arn"] == arn, kept
        assert kept["AssumeRolePolicyDocument"] == TRUST, kept
        say("role", arn=arn, created=created)
        return arn

    def upload(self):
        self.step, created = "bucket", True
        try:
            self.s3.head_bucket(Bucket=self.bucket)
            created = False
        except ClientError as e:
            if e.response["Error"]["Code"] != "404":
                raise
        where = {} if self.region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": self.region}}
        try:
            self.s3.create_bucket(Bucket=self.bucket, **where)
        except (self.s3.exceptions.BucketAlreadyOwnedByYou, self.s3.exceptions.BucketAlreadyExists):
            pass
        self.s3.put_public_access_block(
            Bucket=self.bucket,
            PublicAccessBlockConfiguration={
                "BlockPublicAcls": True,
                "IgnorePublicAcls": True,
                "BlockPublicPolicy": True,
                "RestrictPublicBuckets": True,
            },
        )
        say("bucket", bucket=self.bucket, created=created)
        self.step = "upload"
        self.s3.upload_file(self.args.zip, self.bucket, self.key, ExtraArgs={"ContentType": "application/zip"})
        head = self.s3.head_object(Bucket=self.bucket, Key=self.key)
        say("upload", bucket=self.bucket, key=self.key, bytes=head["ContentLength"], etag=head["ETag"])

    def use_runtime(self, role_arn):
        self.control = boto3.client("bedrock-agentcore-control")
        self.step = "runtime"
        created = self.control.create_agent_runtime(
            agentRuntimeName=self.args.name,
            agentRuntimeArtifact={
                "codeConfiguration": {
                    "code": {"s3": {"bucket": self.bucket, "prefix": self.key}},
                    "runtime": self.args.runtime,
                    "entryPoint": self.args.entry_point,
                }
            },
            roleArn=role_arn,
            networkConfiguration={"networkMode": "PUBLIC"},
            protocolConfiguration={"serverProtocol": "HTTP"},
        )
        runtime, arn = created["agentRuntimeId"], created["agentRuntimeArn"]
        say("runtime", id=runtime, arn=arn, status=created["status"])
        self.poll("runtime", lambda: self.control.get_agent_runtime(agentRuntimeId=runtime), id=runtime, arn=arn)
        self.step = "endpoint"
        self.control.create_agent_runtime_endpoint(agentRuntimeId=runtime, name="default")
        self.poll("endpoint", lambda: self.endpoint(runtime), name="default")
        self.invoke(arn)
        self.step = "deleted"
        self.control.delete_agent_runtime_endpoint(agentRuntimeId=runtime, endpointName="default")
        self.gone("endpoint", lambda: self.endpoint(runtime))
        self.control.delete_agent_runtime(agentRuntimeId=runtime)
        self.gone("runtime", lambda: self.control.get_agent_runtime(agentRuntimeId=runtime))

    def endpoint(self, runtime):
        listed = self.control.list_agent_runtime_endpoints(agentRuntimeId=runtime)["runtimeEndpoints"]
        return next((e for e in listed if e["name"] == "default"), None)

    def poll(self, event, get, **fields):
        last = None
        while True:
            now = get()
            if now["status"] != last:
                last = now["status"]
                say(event, status=last, failureReason=now.get("failureReason"), **fields)
            if last == "READY":
                return
            if "FAILED" in last:
                raise RuntimeError(f"{event} is {last}: {now.get('failureReason')}")
            time.sleep(self.args.poll)

    def gone(self, what, get):
        try:
            while get() is not None:
                time.sleep(self.args.poll)
        except self.control.exceptions.ResourceNotFoundException:
            pass
        say("deleted", what=what)

    def invoke(self, arn):
        self.step = "answer"
        data = boto3.client("bedrock-agentcore")
        session = str(uuid.uuid4())
        response = data.invoke_agent_runtime(
            agentRuntimeArn=arn,
            qualifier="default",
            runtimeSessionId=session,
            payload=self.args.payload.encode(),
            contentType="application/json",
        )
        say(
            "answer",
            session=response["runtimeSessionId"],
            statusCode=response["statusCode"],
            contentType=response["contentType"],
            body=response["response"].read().decode(),
        )
        self.step = "stopped"
        data.stop_runtime_session(agentRuntimeArn=arn, qualifier="default", runtimeSessionId=session)
        say("stopped", session=session)

    def delete_storage(self):
        self.step = "deleted"
        bucket = boto3.resource("s3").Bucket(self.bucket)
        bucket.object_versions.delete()
        say("deleted", what="object")
        bucket.delete()
        bucket.wait_until_not_exists()
        say("deleted", what="bucket")
        for name in self.iam.list_role_policies(RoleName=self.role_name)["PolicyNames"]:
            self.iam.delete_role_policy(RoleName=self.role_name, PolicyName=name)
        for policy in self.iam.list_attached_role_policies(RoleName=self.role_name)["AttachedPolicies"]:
            self.iam.detach_role_policy(RoleName=self.role_name, PolicyArn=policy["PolicyArn"])
        self.iam.delete_role(RoleName=self.role_name)
        say("deleted", what="role")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("zip")
    parser.add_argument("--name", default="deployed_by_script")
    parser.add_argument("--runtime", default="PYTHON_3_11")
    parser.add_argument("--entry-point", nargs="+", default=["agent.py"])
    parser.add_argument("--payload", default='{"prompt": "hello"}')
    parser.add_argument("--poll", type=float, default=0.5, help="seconds between two looks at a status")
    parser.add_argument("--storage-only", action="store_true", help="make no runtime")
    parser.add_argument("--keep", action="store_true", help="leave role and bucket")
    deployment = Deployment(parser.parse_args())
    try:
        deployment.run()
    except Exception as e:
        traceback.print_exc()
        answer = getattr(e, "response", {})
        say(
            "error",
            step=deployment.step,
            exception=type(e).__name__,
            code=answer.get("Error", {}).get("Code"),
            status=answer.get("ResponseMetadata", {}).get("HTTPStatusCode"),
            message=str(e),
        )
        sys.exit(1)


main()
