"""CTs to try the module on, which Slicer's module Sample Data downloads when somebody asks for them."""

# Name, address and SHA-256, as their owners register them: Slicer's CTChest, and DemoChestCT of the extension Lung CT
# Analyzer. No diagnosis is published with either. Sample Data compares the sum with what it has downloaded.
_SAMPLES = (
    (
        "InfNetChestCT",
        "https://github.com/Slicer/SlicerTestingData/releases/download/SHA256/"
        "4507b664690840abb6cb9af2d919377ffc4ef75b167cb6fd0f747befdb12e38e",
        "4507b664690840abb6cb9af2d919377ffc4ef75b167cb6fd0f747befdb12e38e",
    ),
    (
        "InfNetDemoCT",
        "https://github.com/rbumm/SlicerLungCTAnalyzer/releases/download/SampleData/LungCTAnalyzerChestCT.nrrd",
        "9bb74f4383bce0ced80243916e785ce564cc2c8f535e8273da8a04f80dff4287",
    ),
)


def registerSamples():
    """List the CTs in Sample Data. Called when Slicer has started: nothing is downloaded."""
    import SampleData

    for name, address, checksum in _SAMPLES:
        SampleData.SampleDataLogic.registerCustomSampleDataSource(
            category="Inf-Net",
            sampleName=name,
            uris=address,
            fileNames=f"{name}.nrrd",
            nodeNames=name,
            checksums=f"SHA256:{checksum}",
        )
