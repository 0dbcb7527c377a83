"""The fields of Kubernetes and KubeRay that our manifests use, and no others: a misspelt one is an error."""

import re
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)

_QUANTITY = r"^[1-9][0-9]*(m|Mi|Gi|Ti)?$"
_CRON_RANGES = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 6))
_CRON_PART = re.compile(r"(\*|[0-9]+(?:-[0-9]+)?)(?:/([1-9][0-9]*))?")


def _cron(text: str) -> str:
    fields = text.split()
    if len(fields) != len(_CRON_RANGES):
        raise ValueError(f"a schedule has five fields, this one {len(fields)}")
    for field, (least, most) in zip(fields, _CRON_RANGES, strict=True):
        for part in field.split(","):
            found = _CRON_PART.fullmatch(part)
            if found is None:
                raise ValueError(f"{part} is no part of a schedule")
            numbers = [] if found[1] == "*" else [int(one) for one in found[1].split("-")]
            if any(not least <= one <= most for one in numbers) or numbers != sorted(numbers):
                raise ValueError(f"{part} is not within {least} to {most}")
    return text


type Quantity = Annotated[str, StringConstraints(pattern=_QUANTITY)]
type Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
type Cron = Annotated[str, AfterValidator(_cron)]
type Port = Annotated[int, Field(ge=1, le=65_535)]
type Placeholder = Annotated[str, StringConstraints(pattern=r"^<.+>$")]


class Strict(BaseModel):
    """Nothing that is not named, and no text for a number."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Named(Strict):
    name: Name


class Metadata(Named):
    annotations: dict[str, str] = {}


class KeyOf(Named):
    key: str


class SecretValue(Strict):
    secretKeyRef: KeyOf


class FromSecret(Strict):
    valueFrom: SecretValue


class EnvFrom(Strict):
    configMapRef: Named | None = None
    secretRef: Named | None = None

    @model_validator(mode="after")
    def one(self) -> "EnvFrom":
        if (self.configMapRef is None) == (self.secretRef is None):
            raise ValueError("exactly one of configMapRef and secretRef")
        return self


Amounts = dict[Literal["cpu", "memory", "nvidia.com/gpu"], Quantity]


class Resources(Strict):
    requests: Amounts
    limits: Amounts

    @model_validator(mode="after")
    def both(self) -> "Resources":
        if not {"cpu", "memory"} <= set(self.limits):
            raise ValueError("cpu and memory need a limit")
        return self


class Capabilities(Strict):
    drop: list[Literal["ALL"]] = Field(min_length=1)


class ContainerSecurity(Strict):
    allowPrivilegeEscalation: Literal[False]
    capabilities: Capabilities


class Socket(Strict):
    port: Port


class Probe(Strict):
    tcpSocket: Socket
    initialDelaySeconds: int = Field(0, ge=0)
    periodSeconds: int = Field(ge=1)
    failureThreshold: int = Field(ge=1)


class Mount(Strict):
    name: Name
    mountPath: Annotated[str, StringConstraints(pattern=r"^/")]


class Container(Strict):
    name: Name
    image: Placeholder
    command: list[str] | None = None
    args: list[str] | None = None
    envFrom: list[EnvFrom] = Field(min_length=1)
    resources: Resources
    securityContext: ContainerSecurity
    livenessProbe: Probe
    readinessProbe: Probe
    volumeMounts: list[Mount] = Field(min_length=1)


class Claim(Strict):
    claimName: Name


class EmptyDir(Strict):
    medium: Literal["Memory"]
    sizeLimit: Quantity


class Volume(Strict):
    name: Name
    persistentVolumeClaim: Claim | None = None
    emptyDir: EmptyDir | None = None


class PodSecurity(Strict):
    runAsNonRoot: Literal[True]
    runAsUser: int = Field(ge=1)
    fsGroup: int = Field(ge=1)


class PodSpec(Strict):
    terminationGracePeriodSeconds: int = Field(ge=1)
    securityContext: PodSecurity
    containers: list[Container] = Field(min_length=1, max_length=1)
    volumes: list[Volume] = Field(min_length=1)

    @model_validator(mode="after")
    def mounted(self) -> "PodSpec":
        names = {volume.name for volume in self.volumes}
        if any(mount.name not in names for mount in self.containers[0].volumeMounts):
            raise ValueError("a mount without its volume")
        return self


class Labels(Strict):
    labels: dict[str, str]


class Template(Strict):
    metadata: Labels
    spec: PodSpec


class Head(Strict):
    serviceType: Literal["ClusterIP"]
    rayStartParams: dict[str, str]
    template: Template


class Workers(Strict):
    groupName: Name
    replicas: int = Field(ge=0)
    minReplicas: int = Field(ge=0)
    maxReplicas: int = Field(ge=1)
    rayStartParams: dict[str, str]
    template: Template

    @model_validator(mode="after")
    def ordered(self) -> "Workers":
        if not self.minReplicas <= self.replicas <= self.maxReplicas:
            raise ValueError("minReplicas <= replicas <= maxReplicas")
        return self


class Autoscaler(Strict):
    idleTimeoutSeconds: int = Field(ge=1)
    upscalingMode: Literal["Default", "Aggressive", "Conservative"]
    resources: Resources


class Auth(Strict):
    mode: Literal["token"]


class FaultTolerance(Strict):
    redisAddress: Placeholder
    redisPassword: FromSecret


class ClusterSpec(Strict):
    rayVersion: str
    authOptions: Auth
    enableInTreeAutoscaling: Literal[True]
    autoscalerOptions: Autoscaler
    gcsFaultToleranceOptions: FaultTolerance | None = None
    headGroupSpec: Head
    workerGroupSpecs: list[Workers] = Field(min_length=1)


class UpgradeStrategy(Strict):
    type: Literal["None"]


class ServiceSpec(Strict):
    upgradeStrategy: UpgradeStrategy
    serveConfigV2: str
    rayClusterConfig: ClusterSpec


class RayService(Strict):
    apiVersion: Literal["ray.io/v1"]
    kind: Literal["RayService"]
    metadata: Metadata
    spec: ServiceSpec


class JobSpec(Strict):
    entrypoint: str
    submissionMode: Literal["HTTPMode", "K8sJobMode"]
    shutdownAfterJobFinishes: Literal[True]
    ttlSecondsAfterFinished: int = Field(ge=0)
    activeDeadlineSeconds: int = Field(ge=1)
    backoffLimit: int = Field(ge=0)
    rayClusterSpec: ClusterSpec


class CronSpec(Strict):
    schedule: Cron
    jobTemplate: JobSpec


class RayCronJob(Strict):
    apiVersion: Literal["ray.io/v1"]
    kind: Literal["RayCronJob"]
    metadata: Metadata
    spec: CronSpec


class ConfigMap(Strict):
    apiVersion: Literal["v1"]
    kind: Literal["ConfigMap"]
    metadata: Metadata
    data: dict[str, str]


class ClaimRequests(Strict):
    requests: dict[Literal["storage"], Quantity]


class ClaimSpec(Strict):
    accessModes: list[Literal["ReadWriteMany"]] = Field(min_length=1)
    storageClassName: Placeholder
    resources: ClaimRequests


class VolumeClaim(Strict):
    apiVersion: Literal["v1"]
    kind: Literal["PersistentVolumeClaim"]
    metadata: Metadata
    spec: ClaimSpec


class MatchLabels(Strict):
    matchLabels: dict[str, str] = Field(min_length=1)


class Peer(Strict):
    podSelector: MatchLabels | None = None
    namespaceSelector: MatchLabels | None = None


class IngressRule(Strict):
    from_: list[Peer] = Field(alias="from", min_length=1)


class PolicySpec(Strict):
    podSelector: MatchLabels
    policyTypes: list[Literal["Ingress"]] = Field(min_length=1)
    ingress: list[IngressRule] = Field(min_length=1)


class NetworkPolicy(Strict):
    apiVersion: Literal["networking.k8s.io/v1"]
    kind: Literal["NetworkPolicy"]
    metadata: Metadata
    spec: PolicySpec


type Manifest = RayService | RayCronJob | ConfigMap | VolumeClaim | NetworkPolicy
MODELS: dict[str, type[Any]] = {
    "RayService": RayService,
    "RayCronJob": RayCronJob,
    "ConfigMap": ConfigMap,
    "PersistentVolumeClaim": VolumeClaim,
    "NetworkPolicy": NetworkPolicy,
}
