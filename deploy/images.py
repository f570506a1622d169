"""Images in ECR: by a digest, which cannot move, or by a tag, which can."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from report import DeploymentError, Report

VERSION_TAG = re.compile(r"v\d+-([0-9a-f]{7,40})")
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")

MANIFEST_TYPES = [
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
]


@dataclass(frozen=True)
class Image:
    """An image in ECR, by what cannot move."""

    uri: str
    digest: str
    version: str

    @property
    def short_sha(self) -> str:
        """The beginning of the commit that it was built from."""
        found = VERSION_TAG.fullmatch(self.version)
        return found[1] if found else ""


class Images:
    """A repository of ECR."""

    def __init__(self, ecr: Any, repository: str, report: Report) -> None:
        self.ecr = ecr
        self.repository = repository
        self.report = report

    def named(self, reference: str) -> Image:
        """The image that a tag or a digest names now.

        Raises:
            DeploymentError: if there is none, or it has no tag that says which release it is.
        """
        kind = "imageDigest" if DIGEST.fullmatch(reference) else "imageTag"
        try:
            found = self.ecr.describe_images(repositoryName=self.repository, imageIds=[{kind: reference}])
        except (self.ecr.exceptions.ImageNotFoundException, self.ecr.exceptions.InvalidParameterException) as error:
            raise DeploymentError(f"There is no image {reference} in {self.repository}.") from error
        detail = found["imageDetails"][0]
        versions = [tag for tag in detail.get("imageTags", []) if VERSION_TAG.fullmatch(tag)]
        if not versions:
            raise DeploymentError(
                f"The image {reference} has no tag such as v41-abc1234: nothing can tell whether it is what serves."
            )
        uri = f"{detail['registryId']}.dkr.ecr.{self.ecr.meta.region_name}.amazonaws.com/{self.repository}"
        # The image holds its version (RELEASE), and 08 never builds a version twice.
        return Image(f"{uri}@{detail['imageDigest']}", detail["imageDigest"], versions[0])

    def version_of(self, digest: str) -> str:
        """Which release an image is; empty where ECR has it no more, or nothing says so."""
        try:
            return self.named(digest).version
        except DeploymentError:
            return ""

    def tag(self, digest: str, tag: str) -> None:
        """Move a tag onto an image."""
        found = self.ecr.batch_get_image(
            repositoryName=self.repository,
            imageIds=[{"imageDigest": digest}],
            acceptedMediaTypes=MANIFEST_TYPES,
        )["images"][0]
        try:
            self.ecr.put_image(
                repositoryName=self.repository,
                imageManifest=found["imageManifest"],
                imageManifestMediaType=found.get("imageManifestMediaType") or MANIFEST_TYPES[0],
                imageTag=tag,
                imageDigest=digest,
            )
        except self.ecr.exceptions.ImageAlreadyExistsException:
            return
        self.report.say(f"tagged {digest} {tag}")
