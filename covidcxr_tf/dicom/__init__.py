"""Results as DICOM objects in the film's study, and the node that receives films. For research, never for diagnosis."""
